"""Pictures of the experiments: an item, accuracy and effective rank by the share of language, the editor's grade."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..evidence import half_width
from .dataset import make_item
from .grades import DIMENSIONS
from .report import Records, records_of

STYLE: dict[Any, Any] = {"svg.hashsalt": "yoj", "svg.fonttype": "none", "font.family": "sans-serif"}


def draw(folder: Path, file: Path) -> None:
    """Draw the results of a folder.

    Args:
        folder: folder of the results.
        file: SVG file to write.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    shares, loops = records_of(folder, "share-"), records_of(folder, "loop-")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 4), layout="constrained")
        FigureCanvasSVG(figure)
        first, second, third = figure.subplots(1, 3)
        by_share = {share: [one for one in shares if one["share"] == share] for share in _values(shares, "share")}
        _band(
            first, list(by_share), [[100 * one["best_of_4"] for one in own] for own in by_share.values()], "best of 4"
        )
        first.set(xlabel="share of language a", ylabel="best of 4, %", title="accuracy")
        _band(second, list(by_share), [[one["effective_rank"] for one in own] for own in by_share.values()], "rank")
        second.set(xlabel="share of language a", ylabel="effective rank", title="representations")
        for reward, kl in sorted({(one["reward"], one["kl"]) for one in loops}):
            runs = [one["measurements"] for one in loops if (one["reward"], one["kl"]) == (reward, kl)]
            steps = [found["step"] for found in runs[0]]
            _band(third, steps, [[run[k]["grade"] for run in runs] for k in range(len(steps))], f"{reward}, {kl:g}")
        third.set(xlabel="step", ylabel="true grade, 2 to 8", title="editor")
        third.legend(fontsize=7)
        for axis in (first, second, third):
            axis.grid(alpha=0.3)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def draw_item(index: int, file: Path) -> None:
    """Draw a held-out item: the source and its edits with their grades.

    Args:
        index: index of the item.
        file: SVG file to write.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    item = make_item("held_out", 0, index)
    titles = ["source"]
    for grade in item.grades():
        titles.append(f"{grade.label}\n{', '.join(f'{name} {getattr(grade, name)}' for name in DIMENSIONS)}")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.4 * len(titles), 3), layout="constrained")
        FigureCanvasSVG(figure)
        figure.suptitle(item.instruction)
        for axis, title, drawing in zip(
            figure.subplots(1, len(titles)), titles, [item.source, *item.results], strict=True
        ):
            axis.imshow(drawing.pixels(), interpolation="nearest")
            axis.set_title(title, fontsize=9)
            axis.set_axis_off()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def _values(records: Records, key: str) -> list[Any]:
    return sorted({one[key] for one in records})


def _band(axis: Any, places: Sequence[float], values: Sequence[Sequence[float]], label: str) -> None:
    """Line of means over seeds with their intervals of 95 %."""
    middle = [statistics.mean(own) for own in values]
    half = [half_width(own) or 0.0 for own in values]
    (line,) = axis.plot(places, middle, marker="o", markersize=3, label=label)
    low, high = ([m + sign * h for m, h in zip(middle, half, strict=True)] for sign in (-1, 1))
    axis.fill_between(places, low, high, color=line.get_color(), alpha=0.15)
