"""Comparison of two runs of the bench: faster, slower, or wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from ._results import BenchModel, JudgeResult, Point, RequestShape, Results, Start, Sweep, Time, VariantResult
from ._tables import SCORES_DIFFER, Table, milliseconds, number, plain

Verdict: TypeAlias = Literal["faster", "slower", "same", "scores differ", "no time", "not comparable"]


ENOUGH_RUNS, NOTICEABLE = 6, 1.1
"""Number of runs from which an interval holds the median with 95 % confidence, and ratio by which medians of fewer runs
must differ."""


@dataclass(frozen=True)
class Measured:
    """Measured time, with its place in the results."""

    time: Time
    agrees: bool
    model: BenchModel
    shape: RequestShape


@dataclass(frozen=True)
class ComparedPair:
    """Pair of times that stand in both runs."""

    judge: str
    what: str
    old: Measured
    new: Measured

    def __str__(self) -> str:
        return f"{plain(self.judge)}: {plain(self.what)}"


def compare(old: Results, new: Results) -> str:
    """Differences between two runs, as text: agreement of scores, the environment, then the times of each judge."""
    scores = [f"  {pair} {how}" for pair in _pairs(old, new) if (how := _agreement(pair))]
    environment = [f"  {line}" for line in _environment(old.environment, new.environment)]
    parts = ["\n".join(["scores", *scores])] if scores else []
    parts.append("\n".join(["environment", *environment]) if environment else "The environment is the same.")
    lone = [f"  {line}" for line in _lone(old, new)]
    if lone:
        parts.append("\n".join(["in one of the two only", *lone]))
    parts += [str(table) for judges in _both(old, new) for table in _tables(*judges) if table.rows]
    if any(judge.phases or judge.savings or judge.profiles or judge.load for judge in old.judges):
        parts.append("Phases, savings, profiles and load are not compared: they have no intervals.")
    return "\n\n".join(parts)


def regressions(old: Results, new: Results) -> list[str]:
    """Regressions, a line for each: slower, without a time, gone, or with scores that did not disagree before."""
    pairs = list(_pairs(old, new))
    if not pairs and any(_measured(judge) for judge in old.judges):
        return ["nothing that was measured before was measured again"]
    both = {(pair.judge, pair.what) for pair in pairs}
    lines = [f"{pair} {how}" for pair in pairs if (how := _regression(pair))]
    lines += [
        f"{plain(judge.model.name)}: {plain(what)} is gone"
        for judge in old.judges
        for what in _measured(judge)
        if (judge.model.name, what) not in both
    ]
    names = {judge.model.name for judge in new.judges}
    lines += [
        f"{plain(judge.model.name)} is gone"
        for judge in old.judges
        if judge.model.name not in names and not _measured(judge)
    ]
    lines += [
        f"{plain(before.model.name)}: {plain(start)} is gone"
        for before, after in _both(old, new)
        for start in _lost_starts(before, after)
    ]
    for judge in new.judges:
        lines += [
            f"{plain(judge.model.name)}: {plain(what)} is new, and its {SCORES_DIFFER}"
            for what, measured in _measured(judge).items()
            if (judge.model.name, what) not in both and not measured.agrees
        ]
    return lines


def verdict(old: Measured, new: Measured) -> Verdict:
    """Verdict on two times; where the two intervals have a point in common, they are the same.

    Of few runs, intervals from the fastest to the slowest miss each other by chance (of 3 and 3 in one of 10 cases), so
    that medians must differ as well.
    """
    if (old.model, old.shape) != (new.model, new.shape):
        return "not comparable"
    if not (old.agrees and new.agrees):
        return "scores differ"
    if not (_timed(old.time) and _timed(new.time)):
        return "no time"
    ratio = new.time.median / old.time.median
    if min(old.time.runs, new.time.runs) < ENOUGH_RUNS and 1 / NOTICEABLE < ratio < NOTICEABLE:
        return "same"
    if new.time.high < old.time.low:
        return "faster"
    return "slower" if new.time.low > old.time.high else "same"


def _regression(pair: ComparedPair) -> str:
    """Text of what is worse; empty where nothing is."""
    if pair.old.agrees and not pair.new.agrees:
        return _agreement(pair)
    said = verdict(pair.old, pair.new)
    if said == "slower":
        was, now = pair.old.time.median, pair.new.time.median
        return f"became slower: {was:,.2f} ms -> {now:,.2f} ms, {now / was:.2f} times as long"
    if said == "no time" and _timed(pair.old.time):
        return f"has no time any more; it took {pair.old.time.median:,.2f} ms"
    return ""


def _agreement(pair: ComparedPair) -> str:
    if pair.old.agrees == pair.new.agrees:
        return ""
    return "agrees now" if pair.new.agrees else "no longer agrees"


def _tables(old: JudgeResult, new: JudgeResult) -> tuple[Table, Table]:
    """Pairs of times of the variants and of the starts of one judge."""
    times = [
        (pair.what, milliseconds(pair.old.time), milliseconds(pair.new.time), _ratio(pair, said), said)
        for pair in _pairs_of(old, new)
        for said in (verdict(pair.old, pair.new),)
    ]
    before, after = _starts(old), _starts(new)
    comparable = (old.model, old.shape) == (new.model, new.shape)
    starts = [
        (what, number(was), number(now), f"{now / was:.2f}" if comparable and was > 0 and math.isfinite(now) else "")
        for bundle in before
        if bundle in after
        for (what, was), now in zip(_figures(before[bundle]), dict(_figures(after[bundle])).values(), strict=True)
    ]
    heads = ("what", "old", "new", "new / old", "verdict")
    return (
        Table(f"{old.model.name} (ms)", heads, tuple(times), left=(0, 4), note=_changes(old, new)),
        Table(
            f"{old.model.name}, starts",
            ("what", "old", "new", "new / old"),
            tuple(starts),
            note="Each was measured once, so that no interval says whether they differ."
            + ("" if comparable else " The models are not the same."),
        ),
    )


def _ratio(pair: ComparedPair, said: Verdict) -> str:
    ranked = said in ("faster", "slower", "same")
    return f"{pair.new.time.median / pair.old.time.median:.2f}" if ranked else ""


def _figures(start: Start) -> list[tuple[str, float]]:
    name = f"{start.bundle} ({start.precision})"
    return [
        (f"{name}: import s", start.import_s),
        (f"{name}: load s", start.load_s),
        (f"{name}: first score s", start.first_score_s),
        (f"{name}: resident MB", start.resident / 1e6),
    ]


def _environment(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*old, *new]):
        was, now = (str(of[key]) if key in of else "absent" for of in (old, new))
        if was != now:
            yield plain(f"{key}: {was} -> {now}")


def _lone(old: Results, new: Results) -> Iterator[str]:
    """Judges and parts of judges that have no counterpart."""
    for one, other, where in ((old, new, "old"), (new, old, "new")):
        theirs = {judge.model.name for judge in other.judges}
        yield from (f"{where}: judge {plain(j.model.name)}" for j in one.judges if j.model.name not in theirs)
    for before, after in _both(old, new):
        for one, other, where in ((before, after, "old"), (after, before, "new")):
            yield from (f"{where}: {plain(one.model.name)}: {plain(part)}" for part in _parts(one, other))


def _parts(judge: JudgeResult, other: JudgeResult) -> list[str]:
    """Entries that the other run has not; the places of a line of a sweep together."""
    theirs, lines = _measured(other), dict[str, list[str]]()
    for sweep in judge.sweeps:
        for point in sweep.points:
            if _place(sweep, point) not in theirs:
                lines.setdefault(f"{point.variant}, {sweep.name} =", []).append(f"{point.x:,.10g}")
    return [
        *(what for what in map(_name, judge.variants) if what not in theirs),
        *(f"{line} {'; '.join(places)}" for line, places in lines.items()),
        *_lost_starts(judge, other),
    ]


def _lost_starts(judge: JudgeResult, other: JudgeResult) -> list[str]:
    theirs = _starts(other)
    return [
        f"start of {bundle} ({precision})" for bundle, precision in _starts(judge) if (bundle, precision) not in theirs
    ]


def _name(variant: VariantResult) -> str:
    return f"{variant.name} ({variant.precision}, {variant.strategy})"


def _place(sweep: Sweep, point: Point) -> str:
    return f"{sweep.name} = {point.x:,.10g}: {point.variant}"


def _changes(old: JudgeResult, new: JudgeResult) -> str:
    """Settings of the model and of the scored request that have changed."""
    was, now = (msgspec.structs.asdict(of.model) | msgspec.structs.asdict(of.shape) for of in (old, new))
    changes = [f"{size} {value} -> {now[size]}" for size, value in was.items() if value != now[size]]
    return f"The model or the request is not the same: {', '.join(changes)}." if changes else ""


def _both(old: Results, new: Results) -> list[tuple[JudgeResult, JudgeResult]]:
    found = {judge.model.name: judge for judge in new.judges}
    return [(judge, found[judge.model.name]) for judge in old.judges if judge.model.name in found]


def _pairs(old: Results, new: Results) -> Iterator[ComparedPair]:
    for judges in _both(old, new):
        yield from _pairs_of(*judges)


def _pairs_of(old: JudgeResult, new: JudgeResult) -> Iterator[ComparedPair]:
    found = _measured(new)
    for what, measured in _measured(old).items():
        if what in found:
            yield ComparedPair(old.model.name, what, measured, found[what])


def _measured(judge: JudgeResult) -> dict[str, Measured]:
    """Times with an interval, by their place in the results."""
    times = {_name(c): Measured(c.time, c.agrees, judge.model, judge.shape) for c in judge.variants}
    for sweep in judge.sweeps:
        for point in sweep.points:
            times[_place(sweep, point)] = Measured(point.time, point.agrees, judge.model, point.shape)
    return times


def _starts(judge: JudgeResult) -> dict[tuple[str, str], Start]:
    return {(start.bundle, start.precision): start for start in judge.starts}


def _timed(time: Time) -> bool:
    return 0 < time.median < math.inf
