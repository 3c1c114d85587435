"""Length bias: whether a judge prefers the longer response more often than people do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._bootstrap import mean
from ._items import Item, Scored
from .benchmarks._base import TieRule, credit_of


@dataclass(frozen=True)
class CreditShare:
    """Share of some items."""

    right: float | None
    """Mean credit of the items; None where there are none."""
    count: int


@dataclass(frozen=True)
class LengthFigures:
    """Figures by length in characters, over scored items of two texts or more that differ in length."""

    items: int
    left_out: int
    """Number of items that are not among them: the judge failed, a response is no plain text, all are of one length, or
    several are best."""
    best_longer: CreditShare
    """Items whose best response is longer than the mean of the others."""
    best_shorter: CreditShare
    best_equal: CreditShare
    score_correlation: float | None
    """Mean over items of Pearson's correlation of score with length; 0 for an item whose scores are equal."""
    rank_correlation: float | None
    """The same of people's preference, the negative rank, with length."""


def length_figures(scored: Sequence[Scored], ties: TieRule) -> LengthFigures:
    """Compute how scores go with lengths, in the first order of each item."""
    credits: dict[int, list[float]] = {1: [], -1: [], 0: []}
    scores: list[float] = []
    preferences: list[float] = []
    for one in scored:
        lengths = text_lengths(one.item)
        if one.scores is None or lengths is None or len({*lengths}) < 2 or len(one.item.ranks) < 2:
            continue
        ranks_N = np.asarray(one.item.ranks, np.float64)
        if (ranks_N == ranks_N.min()).sum() != 1:
            continue
        lengths_N = np.asarray(lengths, np.float64)
        best = int(ranks_N.argmin())
        others = float(np.delete(lengths_N, best).mean())
        credits[int(np.sign(lengths_N[best] - others))].append(credit_of(one.scores, one.item.ranks, ties))
        scores.append(_correlation(np.asarray(one.scores, np.float64), lengths_N))
        preferences.append(_correlation(-ranks_N, lengths_N))
    counted = len(scores)
    return LengthFigures(
        items=counted,
        left_out=len(scored) - counted,
        best_longer=_share(credits[1]),
        best_shorter=_share(credits[-1]),
        best_equal=_share(credits[0]),
        score_correlation=mean(scores),
        rank_correlation=mean(preferences),
    )


def text_lengths(item: Item) -> list[int] | None:
    """Characters of each response [N]; None where one is no plain text."""
    texts = [response for response in item.request.responses if isinstance(response, str)]
    return [len(text) for text in texts] if len(texts) == len(item.request.responses) else None


def _correlation(one_N: NDArray[np.float64], other_N: NDArray[np.float64]) -> float:
    """Pearson's correlation; 0 where one of them is constant."""
    a_N, b_N = one_N - one_N.mean(), other_N - other_N.mean()
    scale = float(np.sqrt((a_N**2).sum() * (b_N**2).sum()))
    return float((a_N * b_N).sum()) / scale if scale else 0.0


def _share(credits: Sequence[float]) -> CreditShare:
    return CreditShare(mean(credits), len(credits))
