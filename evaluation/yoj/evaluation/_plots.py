"""Plots of a run's results, as elements of a page that take their ink from it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

from ._order_report import SlotFigures
from ._probability_report import ProbabilityFigures
from ._results import RunResults

INK = "#1a2b3c"
"""Placeholder for the colour of the page's text: it becomes ``currentColor``, and is used for nothing else."""
BLUE, ORANGE = "#0072b2", "#d55e00"
"""Two of the palette of Okabe and Ito, which colour-blind readers tell apart."""
WIDTH = 8.0
"""Width in inches."""
LETTERS = 48
"""Most characters of a label; the tables have the whole name."""
SHOWN = 40
"""Most figures in one plot; the table has all."""
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


@dataclass(frozen=True)
class ReportPlot:
    """Plot that is still to be drawn."""

    title: str
    height: float
    """Height in inches."""
    draw: Callable[[Any], None]
    """Function that draws into a matplotlib figure."""


def inline(plot: ReportPlot) -> str:
    """Draw the plot as an SVG element, which says what it shows to those who cannot see it.

    The same figures and release of matplotlib give the same text.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": plot.title}):
        figure = Figure(figsize=(WIDTH, plot.height), layout="constrained")
        FigureCanvasSVG(figure)
        plot.draw(figure)
        stream = io.BytesIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing, transparent=True)
    text = stream.getvalue().decode("utf-8")
    text = text[text.index("<svg ") :].strip()
    # matplotlib numbers its groups from 1 in each plot; nothing refers to them.
    text = re.sub(r'<g id="[^"]*"(/?)>', r"<g\1>", text).replace(INK, "currentColor")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(plot.title)}" ', 1)


def plots(results: RunResults) -> list[ReportPlot]:
    """All plots of a run."""
    return [
        _figures(results),
        *(_places(slots) for slots in results.order.by_n),
        *(_reliability(one) for one in results.probabilities),
    ]


def _figures(results: RunResults) -> ReportPlot:
    shown = list(results.figures.items())[:SHOWN]

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        for place, (name, one) in enumerate(shown):
            reach = None
            if one.low is not None and one.high is not None:
                reach = [[max(0.0, one.value - one.low)], [max(0.0, one.high - one.value)]]
            colour = ORANGE if name == results.headline else BLUE
            axis.barh(place, one.value, xerr=reach, color=colour, ecolor=INK, capsize=3, error_kw={"lw": 1})
        labels = [f" {name[:LETTERS]} ({one.count})" for name, one in shown]
        axis.set_yticks(range(len(shown)), labels, fontsize=8)
        axis.set(xlabel="figure with its 95% interval", ylim=(len(shown) - 0.4, -0.6))
        axis.grid(axis="x", color=INK, alpha=0.15)

    return ReportPlot(f"Figures of {results.title}", 1.0 + 0.3 * len(shown), draw)


def _places(slots: SlotFigures) -> ReportPlot:
    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        places = list(range(1, slots.n + 1))
        left.bar(places, [share or 0.0 for share in slots.best_right], color=BLUE)
        left.set(xlabel="place of the best response", ylabel="accuracy", ylim=(0, 1))
        right.bar(places, slots.chosen_count, color=BLUE)
        right.axhline(sum(slots.chosen_count) / slots.n, color=ORANGE, lw=1, label="without position bias")
        right.set(xlabel="place of the highest score", ylabel="items")
        right.legend(fontsize=8)
        for axis in (left, right):
            axis.grid(axis="y", color=INK, alpha=0.15)
            if slots.n <= 16:
                axis.set_xticks(places)

    return ReportPlot(f"Places of {slots.n} responses", 3.2, draw)


def _reliability(one: ProbabilityFigures) -> ReportPlot:
    def draw(figure: Any) -> None:
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], color=INK, alpha=0.4, lw=1)
        axis.plot([b.confidence for b in one.bins], [b.right for b in one.bins], "o-", color=BLUE)
        axis.set(xlabel="probability of the chosen response", ylabel="share right", xlim=(0, 1.02), ylim=(0, 1.02))
        axis.grid(color=INK, alpha=0.15)

    return ReportPlot(f"Probabilities of {one.n} responses, bins of equally many items", 3.6, draw)
