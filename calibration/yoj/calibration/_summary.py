"""Table of statistics for people."""

from __future__ import annotations

from ._statistics import KINDS, Kind, LayerStatistics, Statistics

PERCENTILE = 99.9


def table(statistics: Statistics, most: int) -> str:
    """Table of the layers' inputs with the most unequal channels, by kind of position.

    Layers that have not run are left out. Layers that read the same input share a row. Each cell has the largest
    magnitude, the 99.9th percentile, and how many times the largest channel is as large as the median channel.

    Args:
        statistics: statistics to show.
        most: most rows.
    """
    shared: dict[bytes, list[str]] = {}
    for name, layer in sorted(statistics.layers.items()):  # as gathered and as loaded alike
        if not layer.counts().any():
            continue
        shared.setdefault(layer.absmax_SI.tobytes(), []).append(name)
    rows = sorted(shared.values(), key=lambda names: -statistics.layers[names[0]].outliers())
    shown = [(_label(names), statistics.layers[names[0]]) for names in rows[:most]]
    width = max([len(label) for label, _ in shown], default=5)
    head = f"{'largest':>9} {'99.9%':>9} {'ratio':>8}"
    lines = [
        f"{'':{width}}" + "".join(f"  {kind:^{len(head)}}" for kind in KINDS),
        f"{'layer':{width}}" + f"  {head}" * len(KINDS),
        *(f"{label:{width}}" + "".join(f"  {_cell(layer, kind)}" for kind in KINDS) for label, layer in shown),
    ]
    if len(rows) > most:
        lines.append(f"and {len(rows) - most} more inputs, whose channels are more alike")
    return "\n".join(line.rstrip() for line in lines)


def _label(names: list[str]) -> str:
    return ", ".join([names[0], *(name.rpartition(".")[2] for name in names[1:])])


def _cell(layer: LayerStatistics, kind: Kind) -> str:
    if not layer.counts([kind]).any():
        return f"{'-':>9} {'-':>9} {'-':>8}"
    return f"{layer.largest([kind]):9.4g} {layer.percentile(PERCENTILE, [kind]):9.4g} {layer.outliers([kind]):8.1f}"
