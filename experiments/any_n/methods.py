"""Ways to read N answers, and what each makes of the items."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from yoj.runtime import Request, knockout
from yoj.runtime.agreement import kendall_tau_b
from yoj.runtime.manifest import Mode

from . import figures
from .data import Pack, StudyItem
from .judges import Judge

GROUPS = (4, 8, 16)
ROUNDS = (2, 4)
ORDERS = 4
THIRDS = ("first", "middle", "last")


@dataclass(frozen=True)
class Method:
    """Way to read the answers of a request."""

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields of `yoj.runtime.Request` that ask for it."""
    size: int | None = None
    """Most answers of a pack where they are read in several."""
    knocks_out: bool = False


@dataclass(frozen=True)
class Reading:
    """Reading of one request."""

    scores: tuple[float, ...] | None
    """[N] scores; None from a knockout, which finds the best alone."""
    best: int
    packs: int
    tokens: int
    milliseconds: float
    cpu_milliseconds: float
    """Time of the processor, which other work on the machine hardly changes."""


def methods_for(trained_mode: Mode, n: int) -> list[Method]:
    """Ways to read N answers with a judge of a mode."""
    isolated = Method("isolated", {"mode": "isolated"})
    if trained_mode == "isolated":
        return [isolated]
    orders = [Method(f"{ORDERS} orders", {"orders": ORDERS})] if n >= ORDERS else []
    sizes = [size for size in GROUPS if size < n]
    groups = [
        Method(f"groups of {size}, {rounds} rounds", {"method": "groups", "passes": rounds * -(-n // size)}, size)
        for size in sizes
        for rounds in ROUNDS
    ]
    knockouts = [Method(f"knockout of {size}", size=size, knocks_out=True) for size in sizes]
    return [Method("one pack"), *orders, *groups, *knockouts, isolated]


def read(judge: Judge, request: Request, method: Method) -> Reading:
    """Read one request as if no other had been read before."""
    scorer = judge.scorer(method.size)
    scorer.forget()
    begin, cpu_begin = time.perf_counter(), time.process_time()
    if method.knocks_out:
        scores, best = None, knockout(scorer, request).best
    else:
        (judgement,) = scorer.score_batch([replace(request, **method.fields)])
        scores, best = judgement.scores, judgement.best
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    return Reading(scores, best, scorer.packs, scorer.tokens, 1e3 * seconds, 1e3 * cpu_seconds)


def measure(judge: Judge, items: Sequence[StudyItem], method: Method, n: int) -> dict[str, Any]:
    """Read all items in one way; returns the record of the results."""
    packs = [item.pack(n) for item in items]
    requests = [item.request(pack.answers) for item, pack in zip(items, packs, strict=True)]
    read(judge, requests[0], method)  # the first run of a graph takes longer
    readings = [read(judge, request, method) for request in requests]
    hits = [hit(reading, pack) for reading, pack in zip(readings, packs, strict=True)]
    return {
        "method": method.name,
        "n": n,
        "items": len(items),
        "top1": figures.mean(hits),
        "first_is_true": figures.mean([_true(r, i, p) for r, i, p in zip(readings, items, packs, strict=True)]),
        "thirds": _by_third(hits, packs),
        **_orderings(readings, items, packs),
        "passes": statistics.mean(one.packs for one in readings),
        "tokens": statistics.mean(one.tokens for one in readings),
        "milliseconds": statistics.median(one.milliseconds for one in readings),
        "cpu_milliseconds": statistics.median(one.cpu_milliseconds for one in readings),
    }


def hit(reading: Reading, pack: Pack) -> float:
    """Credit for the best answer: 1 where it is first, and its share of the first place where others are too."""
    if reading.scores is None:
        return float(reading.best == pack.gold)
    return hit_by_scores(reading.scores, pack.gold)


def hit_by_scores(scores: Sequence[float], gold: int) -> float:
    """Credit for the answer at a place by the scores [N] of all; see `hit`."""
    highest = [score == max(scores) for score in scores]
    return highest[gold] / sum(highest)


def above(scores: Sequence[float], pack: Pack) -> float:
    """Credit for the best answer against its rival: 1 where its score is higher, a half where it is equal."""
    gold, rival = scores[pack.gold], scores[pack.rival]
    return (1 + (gold > rival) - (gold < rival)) / 2


def third(place: int, n: int) -> str:
    """Part of the pack in which the middle of a place lies."""
    return THIRDS[(6 * place + 3) // (2 * n)]


def _true(reading: Reading, item: StudyItem, pack: Pack) -> float:
    """Whether all of the first answer is true: it is the best, or leaves an attribute out.

    Answers that leave one out never stood beside full ones in the training of the small judges.
    """
    return float(item.label(pack.answers[reading.best]) == "right")


def _by_third(hits: Sequence[float], packs: Sequence[Pack]) -> dict[str, Any]:
    inside = {name: [third(pack.gold, len(pack.answers)) == name for pack in packs] for name in THIRDS}
    return {name: figures.share([h * i for h, i in zip(hits, own, strict=True)], own) for name, own in inside.items()}


def _orderings(readings: Sequence[Reading], items: Sequence[StudyItem], packs: Sequence[Pack]) -> dict[str, Any]:
    """Figures of whole orders, which a knockout does not give."""
    scored = [(one.scores, item, pack) for one, item, pack in zip(readings, items, packs, strict=True) if one.scores]
    if not scored:
        return {"above_rival": None, "tau_b": None}
    taus = [float(kendall_tau_b([scores], [item.ranks(pack.answers)])[0]) for scores, item, pack in scored]
    defined = [not math.isnan(tau) for tau in taus]
    return {
        "above_rival": figures.mean([above(scores, pack) for scores, _, pack in scored]),
        "tau_b": figures.share([tau if there else 0.0 for tau, there in zip(taus, defined, strict=True)], defined),
    }
