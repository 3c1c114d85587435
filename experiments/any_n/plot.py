"""Picture of the study: accuracy against N."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .data import SIZES
from .report import Content, records_by_method

LEFT_OUT = ("2 rounds", "8 rounds")
"""Ends of the names of methods that are in the tables alone: lines would lie on lines."""


def draw(results: Mapping[str, Content], file: Path) -> None:
    """Draw the share of items whose best answer is first, a panel for each judge and a line for each method.

    Args:
        results: content of each judge's file by its name.
        file: SVG file to write.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "yoj", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(5 * len(results), 4.5), layout="constrained")
        FigureCanvasSVG(figure)
        panels: Any = figure.subplots(1, len(results), sharey=True, squeeze=False)[0]
        for axis, (name, found) in zip(panels, results.items(), strict=True):
            _panel(axis, found)
            axis.set(title=name, xlabel="N", ylim=(0, 1))
            axis.set_xscale("log", base=2)
            axis.set_xticks(SIZES, [str(n) for n in SIZES])
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7)
        panels[0].set_ylabel("share of items whose best answer is first")
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def _panel(axis: Any, found: Content) -> None:
    for method, by_n in records_by_method(found).items():
        if method.endswith(LEFT_OUT):
            continue
        sizes = sorted(by_n)
        values = [by_n[n]["top1"] for n in sizes]
        (line,) = axis.plot(sizes, [one["value"] for one in values], marker="o", markersize=3, label=method)
        low, high = [one["low"] for one in values], [one["high"] for one in values]
        axis.fill_between(sizes, low, high, color=line.get_color(), alpha=0.1)
    axis.plot(SIZES, [1 / n for n in SIZES], color="0.6", linestyle=":", label="chance")
