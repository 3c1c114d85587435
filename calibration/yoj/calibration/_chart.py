"""Quantisation config for people: the effect of each matrix alone on the scores, as a table and as a picture."""

from __future__ import annotations

import io
from typing import Any

from yoj.export.bundle.names import VISION_PREFIX

from ._search import Found
from ._trial import Damage

CHART = "sensitivity.svg"
ROWS = 16


def table(found: Found) -> str:
    """Table of the smoothing, the most sensitive matrices where each was tried alone, and the chosen matrices."""
    lines = [f"{'quantised':44} {'flips':>7} {'tau':>6} {'differences':>12}"]
    matrices = len(found.config.spec.layers)
    for alpha, loss in found.alphas.items():
        lines.append(_row(f"all matrices, alpha {alpha:g}", loss))
    worst = list(reversed(found.sweep.items()))
    for name, loss in worst[:ROWS]:
        lines.append(_row(f"{name}{'' if name in found.config.spec.layers else ' (kept)'}", loss))
    if len(worst) > ROWS:
        lines.append(f"... and {len(worst) - ROWS} milder ones")
    tower = sum(name.startswith(VISION_PREFIX) for name in found.config.spec.layers)
    of_tower = f", {tower} of the vision tower" if tower else ""
    lines.append(_row(f"the quantisation config: {matrices} matrices{of_tower}", found.damage))
    return "\n".join(lines)


def draw(found: Found) -> bytes:
    """Chart as SVG: a bar for each matrix alone, or for each strength of smoothing where all fitted the budget."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    bars = found.sweep or {f"all, alpha {alpha:g}": loss for alpha, loss in found.alphas.items()}
    chosen = {*found.config.spec.layers} if found.sweep else {*bars}
    with matplotlib.rc_context({"svg.hashsalt": "yoj", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(8, 1.2 + 0.2 * len(bars)), layout="constrained")
        FigureCanvasSVG(figure)
        axis: Any = figure.subplots()
        colours = ["tab:blue" if name in chosen else "tab:red" for name in bars]
        axis.barh(list(bars), [loss.difference for loss in bars.values()], color=colours)
        axis.set(
            xlabel="largest difference of two scores, mean over requests (red: kept in float)", ylim=(-1, len(bars))
        )
        axis.tick_params(axis="y", labelsize=7)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _row(name: str, loss: Damage) -> str:
    return f"{name:44} {loss.flips:7.2%} {loss.tau:6.3f} {loss.difference:12.4f}"
