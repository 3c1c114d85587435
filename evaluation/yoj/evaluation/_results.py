"""Results of a run: figures with intervals, their denominators, and how the judge errs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ._benchmark_run import RunSettings, Sheet, judged
from ._bootstrap import RESAMPLES, bootstrap
from ._length_bias import LengthFigures, length_figures
from ._order_report import OrderFigures, order_figures
from ._predictions import Prediction
from ._probability_report import ProbabilityFigures, probability_figures
from .benchmarks._base import Benchmark, TieRule

RESULTS = "results.json"
COMMONEST = 10
"""Most notices, and most numbers of frames, that are counted each."""


@dataclass(frozen=True)
class Figure:
    """One figure of the benchmark."""

    value: float
    low: float | None
    """Lower end of its 95% interval; None where there is none."""
    high: float | None
    count: int
    """Items or groups that it is taken over, whether or not the judge could score them."""


@dataclass(frozen=True)
class RunResults:
    """Figures of a run."""

    benchmark: str
    title: str
    unsure: str
    """Parts of the benchmark's schema or rules that could not be confirmed; empty where all was."""
    headline: str
    """Name of the figure that the benchmark is known by."""
    figures: dict[str, Figure]
    ties: TieRule
    """Rule for ties of these figures."""
    official_ties: TieRule | None
    """Rule for ties of the benchmark's own script; None where it publishes none."""
    resamples: int
    seed: int
    rows: int
    """Rows that were read."""
    limit: int | None
    """Number of rows after which reading stopped on purpose; None where the benchmark was read whole."""
    refused: dict[str, int]
    """Rows that could not be scored and are in no denominator, by the kind of fault."""
    items: int
    """Rows that are in the denominators."""
    failed: int
    """Items that the judge failed on, which count as wrong."""
    first_error: str | None
    noticed: int
    """Items of which the judge says that it read something otherwise than it may have been meant."""
    notices: dict[str, int]
    """Most frequent of what it says -> items."""
    fewer_frames: int
    """Items with videos of which the judge read fewer frames than it was given."""
    frames: dict[str, int]
    """Most frequent numbers of frames of these, such as ``16 of 32`` -> items."""
    order: OrderFigures
    length: LengthFigures
    probabilities: tuple[ProbabilityFigures, ...]

    def to_dict(self) -> dict[str, Any]:
        """Results as plain Python values that JSON can hold."""
        return asdict(self)


def results_of(
    benchmark: Benchmark, sheet: Sheet, predictions: Sequence[Prediction], settings: RunSettings, ties: TieRule
) -> RunResults:
    """Compute the results of a run.

    Args:
        benchmark: record of the benchmark.
        sheet: its items.
        predictions: a prediction for each, in their order.
        settings: settings of the run, whose seed draws the resamples.
        ties: rule for ties.
    """
    scored = judged(sheet, predictions)
    found = benchmark.measure(scored, ties)
    spread = bootstrap(scored, lambda sample: benchmark.measure(sample, ties).values, settings.seed)
    figures = {
        name: Figure(value, interval.low, interval.high, found.counts[name])
        if (interval := spread.get(name))
        else Figure(value, None, None, found.counts[name])
        for name, value in found.values.items()
    }
    errors = [one.error for one in predictions if one.error is not None]
    frames = Counter(one.frames for one in predictions if one.frames and one.frames[1] < one.frames[0])
    notices = Counter(notice for one in predictions for notice in one.notices)
    return RunResults(
        benchmark=benchmark.name,
        title=benchmark.title,
        unsure=benchmark.unsure,
        headline=found.headline,
        figures=figures,
        ties=ties,
        official_ties=benchmark.ties if benchmark.ties_published else None,
        resamples=RESAMPLES if spread else 0,
        seed=settings.seed,
        rows=len(sheet.items) + len(sheet.refused),
        limit=settings.limit,
        refused=sheet.kinds,
        items=len(sheet.items),
        failed=len(errors),
        first_error=errors[0] if errors else None,
        noticed=sum(bool(one.notices) for one in predictions),
        notices=dict(notices.most_common(COMMONEST)),
        fewer_frames=frames.total(),
        frames={f"{read} of {given}": count for (given, read), count in frames.most_common(COMMONEST)},
        order=order_figures(scored, ties),
        length=length_figures(scored, ties),
        probabilities=probability_figures(predictions),
    )
