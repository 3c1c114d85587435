"""Tables and learning curves of the experiment."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click

from ..evidence import half_width
from .arms import ARMS

Run: TypeAlias = dict[str, Any]
LAST = 20
"""Steps at either end of a run over which its samples are averaged."""


def read_runs(folder: Path) -> list[Run]:
    """Results of `run.run`, in the order of their names."""
    runs = [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))]
    if not runs:
        raise click.ClickException(f"{folder} has no results; run `python -m experiments.grpo run` first.")
    return runs


def of(runs: Sequence[Run], arm: str, group: int = 8) -> list[Run]:
    """Runs of a reward and a group size, by seed."""
    found = [one for one in runs if one["config"]["arm"] == arm and one["config"]["group"] == group]
    return sorted(found, key=lambda one: one["config"]["seed"])


def mean_with_interval(values: Sequence[float], digits: int = 3, signed: bool = False) -> str:
    """Mean over seeds, with half the width of its 95 % interval (Student) where there are several."""
    if not values:
        return "-"
    text, half = f"{statistics.mean(values):{'+' if signed else ''}.{digits}f}", half_width(values)
    return text if half is None else f"{text} ± {half:.{digits}f}"


def first(one: Run, name: str) -> float:
    """Mean of a curve over the first steps."""
    return statistics.mean(one["steps"][name][:LAST])


def last(one: Run, name: str) -> float:
    """Mean of a curve over the last steps."""
    return statistics.mean(one["steps"][name][-LAST:])


def share(one: Run) -> float:
    """Share of the reward in the time of the steps, in per cent."""
    return 100 * sum(one["steps"]["seconds"]) / sum(one["step_seconds"])


def wobble(one: Run) -> float:
    """Standard deviation of the truth of the samples from step to step, over the last steps."""
    return statistics.stdev(one["steps"]["truth"][-LAST:])


COLUMNS: dict[str, Callable[[Run], float]] = {
    "held-out truth at the end": lambda one: one["held_out"][-1]["truth"],
    "exact at the end": lambda one: one["held_out"][-1]["exact"],
    "lowest after step 20": lambda one: min(found["truth"] for found in one["held_out"][1:]),
    "truth of samples, last 20 steps": lambda one: last(one, "truth"),
    "their deviation by step": wobble,
    "pairs as by the truth, first 20 steps": lambda one: first(one, "agreement"),
    "last 20 steps": lambda one: last(one, "agreement"),
    "unlike answers a group, last 20 steps": lambda one: last(one, "distinct"),
}


def tables(runs: Sequence[Run]) -> str:
    """Tables as Markdown: means over seeds with intervals of 95 %."""
    rows = [(arm.title, of(runs, name)) for name, arm in ARMS.items()]
    sizes = [(f"{ARMS[arm].title}, N={n}", of(runs, arm, n)) for arm in ("multi", "single") for n in (4, 8, 16)]
    cost = {
        "reward, ms a step": lambda one: 1000 * statistics.median(one["steps"]["seconds"]),
        "share of the step, %": share,
        "passes a step": passes,
    }
    return "\n\n".join(
        (
            _table("reward, groups of 8", rows, COLUMNS),
            _differences(runs),
            _table("reward and group size, 64 answers a step", sizes, COLUMNS),
            _table("cost, groups of 8", rows, cost, digits=1),
        )
    )


def passes(one: Run) -> float:
    """Forward passes of the judge a step: one a group, or one for each unlike answer of it."""
    arm, groups = ARMS[one["config"]["arm"]], one["config"]["samples"] / one["config"]["group"]
    if arm.bundle is None:
        return 0.0
    return groups * (statistics.mean(one["steps"]["distinct"]) if arm.separately else 1)


def _table(
    head: str, rows: Sequence[tuple[str, list[Run]]], cells: dict[str, Callable[[Run], float]], digits: int = 3
) -> str:
    lines = [f"| {' | '.join([head, 'seeds', *cells])} |", "|---" * (len(cells) + 2) + "|"]
    for title, found in rows:
        if found:
            values = [mean_with_interval([cell(one) for one in found], digits) for cell in cells.values()]
            lines.append(f"| {' | '.join([title, str(len(found)), *values])} |")
    return "\n".join(lines)


def _differences(runs: Sequence[Run]) -> str:
    """Differences of runs with the same questions, seed by seed."""
    lines = [
        "| difference, seed by seed | held-out truth at the end | truth of samples, last 20 steps |",
        "|---|---|---|",
    ]
    for one, other, group in (
        ("multi", "single", 4), ("multi", "single", 8), ("multi", "single", 16), ("multi-int8", "multi", 8),
        ("passes", "single", 8), ("truth", "multi", 8), ("truth", "single", 8),
    ):  # fmt: skip
        pairs = list(zip(of(runs, one, group), of(runs, other, group), strict=False))
        ends = [a["held_out"][-1]["truth"] - b["held_out"][-1]["truth"] for a, b in pairs]
        samples = [last(a, "truth") - last(b, "truth") for a, b in pairs]
        if pairs:
            cells = [mean_with_interval(values, signed=True) for values in (ends, samples)]
            lines.append(f"| {one} less {other}, N={group} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(runs: Sequence[Run], file: Path) -> None:
    """Draw learning curves: held-out truth by step, mean and interval over seeds."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    for name, arm in ARMS.items():
        _curve(axes[0], of(runs, name), arm.title)
    for name in ("multi", "single"):
        for n in (4, 8, 16):
            _curve(axes[1], of(runs, name, n), f"{ARMS[name].title[:3]} N={n}")
    for axis, title in zip(axes, ("rewards, groups of 8", "group sizes, 64 answers a step"), strict=True):
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    axes[0].set_ylabel("truth of answers to held-out questions")
    figure.tight_layout()
    figure.savefig(file)


def _curve(axis: Any, found: list[Run], label: str) -> None:
    if not found:
        return
    steps = [one["step"] for one in found[0]["held_out"]]
    by_seed = [[one["truth"] for one in run["held_out"]] for run in found]
    mean = [statistics.mean(values) for values in zip(*by_seed, strict=True)]
    (line,) = axis.plot(steps, mean, label=label)
    half = [half_width(values) or 0.0 for values in zip(*by_seed, strict=True)]
    low, high = zip(*((m - h, m + h) for m, h in zip(mean, half, strict=True)), strict=True)
    axis.fill_between(steps, low, high, color=line.get_color(), alpha=0.12)
