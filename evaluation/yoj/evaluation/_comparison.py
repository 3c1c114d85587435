"""Comparison of two runs on the same items: paired tests, and where their answers differ."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._benchmark_run import differences, read_run
from ._bootstrap import RESAMPLES, Interval, ItemGroups, intervals, resamples
from ._errors import EvaluationError
from ._items import Scored
from ._order_report import top
from ._paired_test import McNemar, mcnemar
from ._predictions import PREDICTIONS, Prediction, read_predictions
from ._results import RESULTS
from ._table import TextTable, number
from .benchmarks._base import Benchmark, Figures, TieRule, credit
from .benchmarks._table import BENCHMARKS

CLOSE = 1e-9
"""Difference up to which a figure that is computed again is the one that the run wrote."""


@dataclass(frozen=True)
class Run:
    """Finished run, as its folder has it."""

    folder: Path
    facts: Mapping[str, Any]
    """Content of ``run.json``."""
    benchmark: Benchmark
    ties: TieRule
    predictions: tuple[Prediction, ...]
    scored: tuple[Scored, ...]
    """Items without their requests."""
    figures: Figures


@dataclass(frozen=True)
class Difference:
    """One figure of both runs."""

    first: float
    second: float
    difference: float
    """Second less first."""
    low: float | None
    """Lower end of the 95% interval of the difference, paired over groups; None where there is none."""
    high: float | None
    count: int


@dataclass(frozen=True)
class RunComparison:
    """Two runs on the same items."""

    benchmark: str
    headline: str
    ties: TieRule
    items: int
    failed: tuple[int, int]
    """Number of items that each judge failed on, which count as wrong."""
    differences: dict[str, Difference]
    mcnemar: McNemar
    """Test of full credit in the first order."""
    answers_differ: int
    """Number of items, scored by both, whose highest scores in the first order are those of other responses."""
    both_scored: int
    score_difference: float | None
    """Largest difference between two scores of one response, both centred in their item, in the first order."""
    resamples: int
    seed: int
    judges: tuple[str, str]
    """Judges as they were given."""
    unlike: tuple[str, ...]
    """Other differences between the runs, such as the precision or the seed of the orders; of the judges those of what
    is known of both."""

    def to_dict(self) -> dict[str, Any]:
        """Comparison as plain Python values that JSON can hold."""
        return asdict(self)


def open_run(folder: Path) -> Run:
    """Read a finished run, and check that its predictions give the figures that it wrote.

    Raises:
        EvaluationError: the folder holds no finished run, or of another version whose figures are other ones.
    """
    facts, file = read_run(folder), folder / RESULTS
    try:
        results = json.loads(file.read_text("utf-8"))
        benchmark, ties = BENCHMARKS[str(facts["benchmark"])], results["ties"]
        known = {name: one["value"] for name, one in results["figures"].items()}
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"{file} cannot be read: {error}. The run may not have come to its end: repeat its command."
        ) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(
            f"{folder} is no run of a benchmark that this yoj knows ({error}). Run it again with this version."
        ) from error
    predictions = tuple(read_predictions(folder / PREDICTIONS))
    scored = tuple(one.scored() for one in predictions)
    figures = benchmark.measure(scored, ties)
    for name, value in known.items():
        found = figures.values.get(name)
        if found is None or not (value is None or math.isclose(found, value, rel_tol=0, abs_tol=CLOSE)):
            raise EvaluationError(
                f"The predictions in {folder} give {name} = {found}, its {RESULTS} says {value}. Repeat the command of "
                "the run, which computes its results again from the same scores."
            )
    return Run(folder, facts, benchmark, ties, predictions, scored, figures)


def compare(first: Run, second: Run) -> RunComparison:
    """Compare two runs.

    Raises:
        EvaluationError: they are of other benchmarks, files, items or rules for ties; the text names the difference.
    """
    _check_same(first, second)
    seed = int(first.facts["settings"]["seed"])
    spread = _bootstrap(first, second, seed)
    pairs = list(zip(first.scored, second.scored, strict=True))
    both = [(a.scores, b.scores) for a, b in pairs if a.scores is not None and b.scores is not None]
    gaps = [float(np.abs(_centred(a) - _centred(b)).max()) for a, b in both]
    rights = [[credit(one, run.ties) == 1 for one in run.scored] for run in (first, second)]
    return RunComparison(
        benchmark=first.benchmark.name,
        headline=first.figures.headline,
        ties=first.ties,
        items=len(pairs),
        failed=(sum(not a.passes for a, _ in pairs), sum(not b.passes for _, b in pairs)),
        differences={name: _difference(name, first, second, spread) for name in first.figures.values},
        mcnemar=mcnemar(rights[0], rights[1]),
        answers_differ=sum(top(a) != top(b) for a, b in both),
        both_scored=len(both),
        score_difference=max(gaps, default=None),
        resamples=RESAMPLES if spread else 0,
        seed=seed,
        judges=(_judge(first), _judge(second)),
        unlike=_unlike(first.facts, second.facts),
    )


def _check_same(first: Run, second: Run) -> None:
    """Refuse runs whose figures do not compare.

    Raises:
        EvaluationError: they do not; the text names the first difference.
    """
    names = f"{first.folder} and {second.folder} do not compare"
    if first.benchmark.name != second.benchmark.name:
        raise EvaluationError(f"{names}: one is of {first.benchmark.name}, the other of {second.benchmark.name}.")
    files, others = _digests(first), _digests(second)
    if differing := sorted(name for name in files.keys() | others.keys() if files.get(name) != others.get(name)):
        name = differing[0]
        raise EvaluationError(
            f"{names}: {name} has the SHA-256 {files.get(name, 'of no file')} in one and "
            f"{others.get(name, 'of no file')} in the other. Run both on the same files."
        )
    if first.ties != second.ties:
        raise EvaluationError(
            f"{names}: equal scores count as {first.ties} in one and as {second.ties} in the other. Repeat the command "
            f"of the second with --ties {first.ties}, which scores nothing again."
        )
    items = [[(one.key, one.group, one.ranks) for one in run.predictions] for run in (first, second)]
    if items[0] != items[1]:
        keys = [{one.key for one in run.predictions} for run in (first, second)]
        odd = sorted(keys[0] ^ keys[1])
        what = f"the item {odd[0]!r} is in one alone" if odd else "their items differ in order, group or ranks"
        raise EvaluationError(
            f"{names}: {len(items[0])} and {len(items[1])} items, and {what}. Run both with the same --limit and "
            "--field."
        )
    if first.figures.values.keys() != second.figures.values.keys():
        odd = sorted(first.figures.values.keys() ^ second.figures.values.keys())
        raise EvaluationError(f"{names}: the figure {odd[0]!r} is in one alone. Compare runs without failed items.")


def _digests(run: Run) -> dict[str, str]:
    try:
        return {name: str(one["sha256"]) for name, one in run.facts["source"]["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{run.folder} records no digests of its source. Run it again.") from error


def _bootstrap(first: Run, second: Run, seed: int) -> dict[str, Interval]:
    """Intervals of the differences of all figures, from resamples of the same groups of both."""
    groups = ItemGroups(first.scored), ItemGroups(second.scored)
    size = len(groups[0].names)
    if size < 2:
        return {}
    found: list[dict[str, float]] = []
    for counts_G in resamples(size, seed):
        a, b = (first.benchmark.measure(of.take(counts_G), first.ties).values for of in groups)
        found.append({name: b[name] - a[name] for name in a if name in b})
    return intervals(found)


def _difference(name: str, first: Run, second: Run, spread: Mapping[str, Interval]) -> Difference:
    a, b, interval = first.figures.values[name], second.figures.values[name], spread.get(name)
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return Difference(a, b, b - a, low, high, first.figures.counts[name])


def _judge(run: Run) -> str:
    return str(run.facts.get("notes", {}).get("judge", "not recorded"))


def _unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, ...]:
    judges: list[Mapping[str, Any]] = [first.get("judge", {}), second.get("judge", {})]
    shared = judges[0].keys() & judges[1].keys()
    before, after = (
        {"yoj": facts.get("yoj"), "judge": {name: judge[name] for name in judge if name in shared}}
        for facts, judge in zip((first, second), judges, strict=True)
    )
    settings = {"settings": first["settings"]}, {"settings": second["settings"]}
    return tuple(differences(before | settings[0], after | settings[1]))


def _centred(scores: Sequence[float]) -> NDArray[np.float64]:
    scores_N = np.asarray(scores, np.float64)
    return scores_N - scores_N.mean()


def comparison_table(found: RunComparison) -> TextTable:
    """Table of a comparison."""
    rows = tuple(
        (
            f"{name} (headline)" if name == found.headline else name,
            number(one.first),
            number(one.second),
            f"{one.difference:+.4f}",
            "-" if one.low is None or one.high is None else f"{one.low:+.4f} to {one.high:+.4f}",
            str(one.count),
        )
        for name, one in found.differences.items()
    )
    test = found.mcnemar
    notes = [
        f"First: {found.judges[0]}.",
        f"Second: {found.judges[1]}.",
        f"McNemar, exact, of {found.items} items: {test.only_first} right in the first alone, {test.only_second} in "
        f"the second alone, p = {test.p:.3g}.",
        f"First answers differ in {found.answers_differ} of the {found.both_scored} items that both scored.",
        f"Largest difference of two scores, centred in their item: {number(found.score_difference)}.",
        f"Equal highest scores count as: {found.ties}.",
    ]
    if found.resamples:
        notes.append(f"Intervals: {found.resamples} bootstrap resamples, paired over groups, seed {found.seed}.")
    if any(found.failed):
        notes.append(f"The judges failed on {found.failed[0]} and {found.failed[1]} items, which count as wrong.")
    notes += [f"Unlike: {told}." for told in found.unlike]
    return TextTable(
        f"Comparison on {found.benchmark}",
        ("figure", "first", "second", "difference", "95% interval", "of"),
        rows,
        tuple(notes),
    )
