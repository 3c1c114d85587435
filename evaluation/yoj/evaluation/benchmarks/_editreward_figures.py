"""Figures of EditReward-Bench: pairs with a class of ties, and groups of which all pairs must be right."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .._errors import EvaluationError
from ..items import Scored
from ._base import Figures, TieRule

SIZES = {"2pair": 2, "3pair": 3, "4pair": 4}
"""Category -> number of pictures of a group."""
TUNED = "tie width tuned on the test set"
"""Warning that stands in the names of figures: the official script picks the width that makes them highest."""


def measure(scored: Sequence[Scored], ties: TieRule) -> Figures:
    """Accuracy of groups, overall and by their size, and of pairs.

    A group with a missing pair is wrong, as in the official script. ``ties`` decides pairs of which one picture is
    better and whose scores are equal, but in the class A=B, which the tuned width decides.
    """
    twos = [one for one in scored if one.item.category == "2pair"]
    credits: dict[str, list[float]] = {}
    overall: list[float] = []
    rankings: list[float] = []
    if twos:
        width = tie_width(twos)
        overall += credits.setdefault(f"category/2pair, {TUNED}", [_class_credit(one, width) for one in twos])
        rankings += credits.setdefault(f"2pair, rankings, {TUNED}", [_ranking_credit(one, width, ties) for one in twos])
        credits["2pair, without ties"] = [
            _pair_credits(one, ties)[0] for one in twos if one.item.ranks[0] != one.item.ranks[1]
        ]
    whole: list[float] = []
    for category in ("3pair", "4pair"):
        own = [one for one in scored if one.item.category == category]
        groups = _groups(own, ties)
        size = SIZES[category] * (SIZES[category] - 1) // 2
        whole += [float(len(pairs) == size) for pairs in groups]
        right = [min(pairs) if len(pairs) == size else 0.0 for pairs in groups]
        credits[f"category/{category}"] = right
        credits[f"{category}, single pairs"] = [credit for pairs in groups for credit in pairs]
        overall, rankings = overall + right, rankings + right
    return _figures(credits | {"groups with all their pairs": whole}, overall, rankings, twos)


def _figures(
    credits: dict[str, list[float]], overall: list[float], rankings: list[float], twos: Sequence[Scored]
) -> Figures:
    if not overall:
        raise EvaluationError("There is no item of EditReward-Bench. Give the whole benchmark.")
    sizes = [name for name in SIZES if any(values and name in figure for figure, values in credits.items())]
    of = "overall" if len(sizes) == len(SIZES) else f"overall of {' and '.join(sizes)} alone"
    headline = f"{of}, {TUNED}" if twos else of
    credits = {headline: overall} | ({f"{of}, rankings, {TUNED}": rankings} if twos else {}) | credits
    filled = {name: values for name, values in credits.items() if values}
    values = {name: sum(some) / len(some) for name, some in filled.items()}
    counts = {name: len(some) for name, some in filled.items()}
    if twos:
        values["2pair, tuned tie width in units of the score"] = tie_width(twos)
        counts["2pair, tuned tie width in units of the score"] = len(twos)
    return Figures(headline, values, counts)


def tie_width(twos: Sequence[Scored]) -> float:
    """Largest difference of two scores that counts as a tie, of those at which most pairs are right.

    That is how the official script picks it: on the test set itself. 0 where the judge could not score any.
    """
    known = [one for one in twos if one.scores is not None]
    difference_P = np.array([_difference(one) for one in known])
    tie_P = np.array([one.item.ranks[0] == one.item.ranks[1] for one in known], np.bool_)
    order_P = np.argsort(np.abs(difference_P), kind="stable")
    width_P = np.abs(difference_P)[order_P]
    # Of the pairs up to a width the ties are right, of the others those whose better picture has the higher score.
    gained_P = np.cumsum(tie_P[order_P]) - np.cumsum((~tie_P & (difference_P > 0))[order_P])
    last_P = np.append(width_P[1:] != width_P[:-1], True)[: len(width_P)]
    widths_W: NDArray[np.float64] = np.concatenate(([0.0], width_P[last_P]))
    gained_W = np.concatenate(([gained_P[width_P == 0][-1] if (width_P == 0).any() else 0], gained_P[last_P]))
    return float(widths_W[np.argmax(gained_W)])


def winner(scored: Scored, width: float) -> int | None:
    """Place of the picture with the higher score of two; None for a tie, which differs by ``width`` at most."""
    assert scored.scores is not None
    first, second = scored.scores
    if abs(first - second) <= width:
        return None
    return 0 if first > second else 1


def _difference(scored: Scored) -> float:
    """Score of the better picture of two less that of the worse; of the first less the second where they tie."""
    assert scored.scores is not None
    first, second = scored.scores
    return second - first if scored.item.ranks[0] > scored.item.ranks[1] else first - second


def _class_credit(scored: Scored, width: float) -> float:
    """Credit of a pair among three classes: one picture is better, the other, or neither."""
    if scored.scores is None:
        return 0.0
    ranks, won = scored.item.ranks, winner(scored, width)
    better = None if ranks[0] == ranks[1] else ranks.index(min(ranks))
    return float(won == better)


def _ranking_credit(scored: Scored, width: float, ties: TieRule) -> float:
    """Credit of a pair as a ranking: the width is asked where people saw a tie, and else the order of the scores."""
    if scored.item.ranks[0] == scored.item.ranks[1]:
        return _class_credit(scored, width)
    return _pair_credits(scored, ties)[0]


def _pair_credits(scored: Scored, ties: TieRule) -> list[float]:
    """Credit of every two pictures of an item with strict ranks; 0 where the judge failed."""
    ranks, scores = scored.item.ranks, scored.scores
    credits: list[float] = []
    for i, j in itertools.combinations(range(len(ranks)), 2):
        better, worse = (i, j) if ranks[i] < ranks[j] else (j, i)
        if scores is None:
            credits.append(0.0)
        elif scores[better] == scores[worse]:
            credits.append({"wrong": 0.0, "right": 1.0, "share": 0.5}[ties])
        else:
            credits.append(float(scores[better] > scores[worse]))
    return credits


def _groups(scored: Sequence[Scored], ties: TieRule) -> list[list[float]]:
    """Credits of the pairs of each group."""
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for one in scored:
        groups[one.item.group] += _pair_credits(one, ties)
    return list(groups.values())
