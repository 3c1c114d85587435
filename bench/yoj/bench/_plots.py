"""Plots of bench results, as SVG that takes its ink from the page around it.

PyTorch is orange and yoj blue in all of them, from the palette of Okabe and Ito, which colour-blind readers tell apart.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ._results import WITHIN, JudgeResult, Sweep, Time, VariantResult, Vendor, ranked
from ._tables import SCORES_DIFFER, plain, unranked

HUES: dict[Vendor, tuple[str, ...]] = {
    "PyTorch": ("#d55e00", "#e69f00", "#b5651d"),
    "yoj": ("#0072b2", "#56b4e9", "#4a6fd6"),
}
"""Shades of each vendor's hue, for several of its variants in one plot."""
PHASES = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
"""Tol's bright colours, for the phases, which belong to neither vendor."""
GREY = "#888888"
"""Colour of variants that are not ranked, or belong to no vendor."""
INK = "#1a2b3c"
"""Placeholder for the colour of the page's text: it becomes ``currentColor``, and is used for nothing else."""
MARKERS = "osD^vPX*"
LINES = ("-", "--", "-.", ":")
LETTERS = 48
"""Most characters of a label; the tables have the whole name."""
WIDTH = 8.0
"""Width in inches."""
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


@dataclass(frozen=True)
class Plot:
    """Plot that is still to be drawn."""

    title: str
    height: float
    """Height in inches."""
    draw: Callable[[Any], None]
    """Function that draws into a matplotlib figure."""


@dataclass(frozen=True)
class Style:
    """Look of a variant in all plots of a judge."""

    colour: str
    marker: str
    line: str


def render(plot: Plot, salt: str, form: str = "svg") -> bytes:
    """Draw the plot, the same bytes for the same results and release of matplotlib.

    Args:
        plot: plot to draw.
        salt: text unlike that of any other plot on the page, so that no two of them have an id in common.
        form: file format, ``svg`` or another that matplotlib writes.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": salt}):
        figure = Figure(figsize=(WIDTH, plot.height), layout="constrained")
        FigureCanvasSVG(figure)
        plot.draw(figure)
        stream = io.BytesIO()
        if form == "svg":
            nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            figure.savefig(stream, format=form, metadata=nothing, transparent=True)
        else:
            figure.savefig(stream, format=form, dpi=110)
    return stream.getvalue()


def inline(plot: Plot, salt: str) -> str:
    """Draw the plot as an element of a page, which says what it shows to those who cannot see it."""
    text = render(plot, salt).decode("utf-8")
    text = text[text.index("<svg ") :].strip()
    # matplotlib numbers its groups from 1 in each figure; nothing refers to them.
    text = re.sub(r'<g id="[^"]*"(/?)>', r"<g\1>", text).replace(INK, "currentColor")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(plain(plot.title))}" ', 1)


def variants(judge: JudgeResult) -> Plot | None:
    """Bars of the variants' times, the fastest on top, those whose scores differ hatched at the bottom."""
    shown = [*ranked(judge), *(c for c in unranked(judge) if _timed(c.time))]
    if not shown:
        return None

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        for place, c in enumerate(shown):
            look: dict[str, Any] = {"color": HUES[c.vendor][0]}
            if not c.agrees:
                look = {"color": "none", "edgecolor": GREY, "hatch": "////"}
            axis.barh(place, c.time.median, xerr=_reach([c.time]), ecolor=INK, capsize=3, error_kw={"lw": 1}, **look)
            end = max(c.time.median, c.time.high) if math.isfinite(c.time.high) else c.time.median
            axis.annotate(
                f"{c.time.median:,.1f}", (end, place), (5, 0), textcoords="offset points", va="center", fontsize=8
            )
        axis.margins(x=0.12)
        _bars(axis, [_named(c) for c in shown], "ms, median with its interval")
        _vendors(figure, shown)

    return Plot(f"{judge.model.name}: time of each variant", 1.3 + 0.32 * len(shown), draw)


def shares(judge: JudgeResult) -> Plot | None:
    """Bars of the share of the measured peak of each ranked variant."""
    shown = [(c, c.share) for c in ranked(judge) if c.share is not None and math.isfinite(c.share)]
    if not shown:
        return None

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        for place, (c, share) in enumerate(shown):
            axis.barh(place, 100 * share, color=HUES[c.vendor][0])
            axis.annotate(
                f"{share:.0%}", (100 * share, place), (5, 0), textcoords="offset points", va="center", fontsize=8
            )
        names = [_named(c) for c, _ in shown]
        _bars(axis, names, "share of the fastest matrix product of its precision that was measured (%)")
        axis.set_xlim(0, 108 * max(1.0, *(share for _, share in shown)))
        _vendors(figure, [c for c, _ in shown])

    return Plot(f"{judge.model.name}: share of the peak", 1.3 + 0.32 * len(shown), draw)


def sweep(judge: JudgeResult, found: Sweep) -> Plot | None:
    """Lines of the variants in a sweep, with intervals; points whose scores differ are crosses beside it."""
    shown = [point for point in found.points if _timed(point.time)]
    if not shown:
        return None

    def draw(figure: Any) -> None:
        axis, looks = figure.subplots(), styles(judge)
        for name in dict.fromkeys(point.variant for point in shown):
            of = sorted((p for p in shown if p.variant == name), key=lambda p: p.x)
            sound, style = [p for p in of if p.agrees], looks[name]
            axis.errorbar(
                [p.x for p in sound],
                [p.time.median for p in sound],
                yerr=_reach([p.time for p in sound]) if sound else None,
                **_line(style, name),
            )
            odd = [p for p in of if not p.agrees]
            axis.plot([p.x for p in odd], [p.time.median for p in odd], "x", color=style.colour, ms=8)
        if not all(p.agrees for p in shown):
            axis.errorbar([], [], fmt="x", color=GREY, ms=8, label=SCORES_DIFFER)
        _scale(axis.xaxis, [p.x for p in shown], ticks=sorted({p.x for p in shown}))
        _scale(axis.yaxis, [p.time.median for p in shown])
        axis.set(xlabel=plain(found.name), ylabel="median ms, with its interval")
        axis.grid(color=INK, alpha=0.15)
        _legend(figure, axis)

    names = {point.variant for point in shown}
    return Plot(f"{judge.model.name}: time as {found.name} varies", 3.8 + 0.2 * math.ceil(len(names) / 2), draw)


def savings(judge: JudgeResult) -> Plot | None:
    """Saving of one pass, as predicted and as measured."""
    of = sorted(judge.savings, key=lambda saving: saving.N)
    if not of:
        return None

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        lines = (
            ("predicted by the tokens that are read", [s.predicted for s in of], Style(GREY, "", "--")),
            ("measured, PyTorch against PyTorch", [s.measured for s in of], Style(HUES["PyTorch"][0], "o", "-")),
            ("yoj's engine against PyTorch", [s.engine for s in of], Style(HUES["yoj"][0], "s", "-")),
        )
        for name, values, style in lines:
            axis.plot([s.N for s in of], [v if math.isfinite(v) else math.nan for v in values], **_line(style, name))
        _scale(axis.xaxis, [s.N for s in of], ticks=sorted({s.N for s in of}))
        _scale(axis.yaxis, [v for _, values, _ in lines for v in values if math.isfinite(v)])
        axis.set(xlabel="N, responses", ylabel="N passes over one pass (times)")
        axis.grid(color=INK, alpha=0.15)
        _legend(figure, axis)

    return Plot(f"{judge.model.name}: one pass against N passes", 4.2, draw)


def phases(judge: JudgeResult) -> Plot | None:
    """Bars of the variants, divided into phases."""
    shown = {name: of for name, of in judge.phases.items() if any(_finite(of.values()))}
    if not shown:
        return None

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        starts = dict.fromkeys(shown, 0.0)
        stacked = dict.fromkeys(phase for of in shown.values() for phase in of if phase not in WITHIN)
        for number, phase in enumerate(stacked):
            widths = [sum(_finite([of.get(phase, 0.0)])) for of in shown.values()]
            colour = PHASES[number % len(PHASES)]
            axis.barh(range(len(shown)), widths, left=list(starts.values()), color=colour, label=_label(phase))
            starts = {name: start + width for (name, start), width in zip(starts.items(), widths, strict=True)}
        _bars(axis, [_label(name) for name in shown], "median ms")
        _legend(figure, axis, columns=6)

    return Plot(f"{judge.model.name}: where the time of a request goes", 1.5 + 0.4 * len(shown), draw)


def load(judge: JudgeResult) -> Plot | None:
    """Panel for each percentile, with a line for each variant."""
    shown = [one for one in judge.load if all(map(math.isfinite, (one.offered, one.p50, one.p95, one.p99)))]
    if not shown:
        return None

    def draw(figure: Any) -> None:
        looks = styles(judge)
        axes = figure.subplots(1, 3, sharey=True)
        for axis, percentile in zip(axes, ("p50", "p95", "p99"), strict=True):
            for name in dict.fromkeys(one.variant for one in shown):
                of = sorted((one for one in shown if one.variant == name), key=lambda one: one.offered)
                values = [getattr(one, percentile) for one in of]
                axis.plot([one.offered for one in of], values, **_line(looks[name], name))
            _scale(axis.xaxis, [one.offered for one in shown])
            axis.set_title(percentile, fontsize=10)
            axis.grid(color=INK, alpha=0.15)
        _scale(axes[0].yaxis, [value for one in shown for value in (one.p50, one.p95, one.p99)])
        axes[0].set_ylabel("ms from arrival to scores")
        axes[1].set_xlabel("requests offered a second")
        _legend(figure, axes[0])

    names = {one.variant for one in shown}
    return Plot(f"{judge.model.name}: latency under load", 3.2 + 0.2 * math.ceil(len(names) / 2), draw)


def styles(judge: JudgeResult) -> dict[str, Style]:
    """Looks by the names that a plot may show: the vendor's hue, and a shade, marker and line of its own."""
    vendors: dict[str, Vendor] = {c.name: c.vendor for c in judge.variants}
    names = [*vendors, *(p.variant for s in judge.sweeps for p in s.points), *(one.variant for one in judge.load)]
    looks: dict[str, Style] = {}
    for name in dict.fromkeys(names):
        shades = HUES[vendors[name]] if name in vendors else (GREY,)
        before = sum(style.colour in shades for style in looks.values())
        line = LINES[before // len(shades) % len(LINES)]
        looks[name] = Style(shades[before % len(shades)], MARKERS[len(looks) % len(MARKERS)], line)
    return looks


def _timed(time: Time) -> bool:
    return 0 < time.median < math.inf


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _reach(of: Sequence[Time]) -> list[list[float]]:
    """Distances from the medians to the ends of the intervals; 0 where an end is not a number."""
    below = [max(0.0, time.median - time.low) if math.isfinite(time.low) else 0.0 for time in of]
    above = [max(0.0, time.high - time.median) if math.isfinite(time.high) else 0.0 for time in of]
    return [below, above]


def _label(text: str) -> str:
    text = plain(text)
    if text.startswith("_"):
        text = f" {text}"  # matplotlib leaves such names out of legends
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def _named(variant: VariantResult) -> str:
    return f"{_label(variant.name)}\n{_label(f'{variant.precision}, {variant.strategy}')}"


def _line(style: Style, name: str) -> dict[str, Any]:
    return {"color": style.colour, "marker": style.marker, "ls": style.line, "ms": 5, "label": _label(name)}


def _bars(axis: Any, names: Sequence[str], what: str) -> None:
    """Axes of horizontal bars, the first of which is on top."""
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set(xlabel=what, xlim=(0, None), ylim=(len(names) - 0.4, -0.6))
    axis.xaxis.set_major_formatter(_digits)
    axis.grid(axis="x", color=INK, alpha=0.15)


def _digits(value: float, _: int) -> str:
    """Label of a tick."""
    return f"{value:,.10g}"


def _scale(axis: Any, values: Sequence[float], ticks: Sequence[float] | None = None) -> None:
    """Set both axes logarithmic where values span more than a factor of 10, else from zero, with plain numbers."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    if values and min(values) > 0 and max(values) > 10 * min(values):
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_minor_locator(NullLocator())
    else:
        axis.axes.set(**{f"{axis.axis_name}lim": (0, None)})
    if ticks:
        axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(_digits)


def _vendors(figure: Any, shown: Sequence[VariantResult]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=HUES[vendor][0], label=vendor) for vendor in HUES if any(c.vendor == vendor for c in shown)]
    if not all(c.agrees for c in shown):
        handles.append(Patch(facecolor="none", edgecolor=GREY, hatch="////", label=SCORES_DIFFER))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)


def _legend(figure: Any, axis: Any, columns: int = 2) -> None:
    """Put the legend under the axes, where it covers nothing."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8)
