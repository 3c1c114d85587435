"""Order sensitivity: how much the answer of a judge depends on the places in which responses stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from yoj.runtime.agreement import kendall_tau_b

from ._bootstrap import mean
from ._items import Pass, Scored
from .benchmarks._base import TieRule, credit_of

ENOUGH = 5
"""Passes for each place from which chi-square is computed; below, its distribution is another."""


@dataclass(frozen=True)
class SlotFigures:
    """Figures by place, for items of N responses. K places: 0 is the first that the judge reads."""

    n: int
    best_count: tuple[int, ...]
    """[N] number of readings, of all orders, whose one best response stood in each place."""
    best_right: tuple[float | None, ...]
    """[N] share of these in which it was chosen; None where there are none."""
    chosen_count: tuple[int, ...]
    """[N] number of items whose highest score, in the first order alone, stood in each place: with a random order the
    places of a judge without position bias are equally likely."""
    tied: int
    """Number of items that are not counted there, as several responses share the highest score."""
    chi_square: float | None
    """Chi-square of ``chosen_count`` against equal counts; None below 5 items for each place."""
    p: float | None
    """Probability of a chi-square so large or more without position bias."""


@dataclass(frozen=True)
class OrderFigures:
    """Order sensitivity over all items."""

    items: int
    """Number of items, among them those that the judge failed on."""
    passes: dict[int, int]
    """Number of items by the number of orders in which they were read; 0: the judge failed."""
    several: int
    """Number of items that were read in two orders or more."""
    flips: float | None
    """Share of these whose highest score is another response's in some order."""
    tau: float | None
    """Mean over items, and over pairs of orders, of Kendall's tau-b between the scores."""
    tau_items: int
    """Number of items over which it is taken: those without an order in which all scores are equal."""
    first_right: float
    """Accuracy in the first order: mean credit over all items."""
    every_right: float
    """Share of all items with full credit in every order."""
    averaged_right: float
    """Accuracy of scores that are averaged over the orders: mean credit over all items."""
    by_n: tuple[SlotFigures, ...]


def order_figures(scored: Sequence[Scored], ties: TieRule) -> OrderFigures:
    """Compute the order sensitivity. An item that the judge failed on counts as wrong, and in no other figure."""
    read = [one for one in scored if one.passes]
    several = [one for one in read if len(one.passes) > 1]
    taus = [tau for one in several if (tau := _tau(one.passes)) is not None]
    first = sum(credit_of(one.passes[0].scores, one.item.ranks, ties) for one in read)
    every = sum(all(credit_of(p.scores, one.item.ranks, ties) == 1 for p in one.passes) for one in read)
    averaged = sum(
        credit_of(averaged_N.tolist(), one.item.ranks, ties)
        for one in read
        if (averaged_N := one.averaged_N) is not None
    )
    counts: defaultdict[int, int] = defaultdict(int)
    by_n: defaultdict[int, list[Scored]] = defaultdict(list)
    for one in scored:
        counts[len(one.passes)] += 1
        if one.passes and len(one.item.ranks) > 1:
            by_n[len(one.item.ranks)].append(one)
    total = max(1, len(scored))
    return OrderFigures(
        items=len(scored),
        passes=dict(sorted(counts.items())),
        several=len(several),
        flips=mean([len({top(p.scores) for p in one.passes}) > 1 for one in several]),
        tau=mean(taus),
        tau_items=len(taus),
        first_right=first / total,
        every_right=every / total,
        averaged_right=averaged / total,
        by_n=tuple(_slots(n, of, ties) for n, of in sorted(by_n.items())),
    )


def _slots(n: int, read: Sequence[Scored], ties: TieRule) -> SlotFigures:
    credits: list[list[float]] = [[] for _ in range(n)]
    for one in read:
        best = [index for index, rank in enumerate(one.item.ranks) if rank == min(one.item.ranks)]
        if len(best) == 1:
            for p in one.passes:
                credits[p.order.index(best[0])].append(credit_of(p.scores, one.item.ranks, ties))
    tops = [(one.passes[0], top(one.passes[0].scores)) for one in read]
    chosen = [p.order.index(next(iter(top))) for p, top in tops if len(top) == 1]
    chosen_N = np.bincount(chosen, minlength=n)
    chi_square, p = _chi_square(chosen_N.tolist())
    return SlotFigures(
        n=n,
        best_count=tuple(map(len, credits)),
        best_right=tuple(map(mean, credits)),
        chosen_count=tuple(chosen_N.tolist()),
        tied=len(tops) - len(chosen),
        chi_square=chi_square,
        p=p,
    )


def _chi_square(counts: Sequence[int]) -> tuple[float | None, float | None]:
    if sum(counts) < ENOUGH * len(counts):
        return None, None
    from scipy.stats import chisquare

    found = chisquare(counts)
    return float(found.statistic), float(found.pvalue)


def _tau(passes: Sequence[Pass]) -> float | None:
    """Mean of tau-b over pairs of readings; None where one of them gives all responses the same score."""
    if any(len({*p.scores}) == 1 for p in passes):
        return None
    # The one of two readings stands for ranks, of which less is better.
    read = [(a.scores, [-score for score in b.scores]) for a, b in combinations(passes, 2)]
    return mean([float(kendall_tau_b([scores], [ranks])[0]) for scores, ranks in read])


def top(scores: Sequence[float]) -> frozenset[int]:
    """Indices of the responses with the highest score."""
    highest = max(scores)
    return frozenset(index for index, score in enumerate(scores) if score == highest)
