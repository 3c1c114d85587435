"""Figures of EditReward-Bench: pairs with a class of ties, and groups of which all pairs must be right."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .._errors import EvaluationError
from .._items import Scored
from ._base import Figures, TieRule
from ._measures import figures_of
from ._pairs import pair_credit

SIZES = {"2pair": 2, "3pair": 3, "4pair": 4}
"""Category -> number of pictures of a group."""
TUNED = "tie width tuned on the test set"
"""Warning that stands in the names of figures: the official script picks the width that makes them highest."""


def measure(scored: Sequence[Scored], ties: TieRule) -> Figures:
    """Accuracy of groups, overall and by their size, and of pairs.

    The figures are those of the authors' scripts: for pairs among three classes and for groups of which all pairs must
    be right, whose mean over all groups is the headline, and for rankings, which ask the tie width only where people
    saw a tie. A group with a missing pair is wrong, as there. ``ties`` decides where scores of pictures are equal of
    which people found one better; the three classes have no use for it.
    """
    twos = [one for one in scored if one.item.category == "2pair"]
    groups = {size: _groups([one for one in scored if one.item.category == size], ties) for size in ("3pair", "4pair")}
    sizes = (["2pair"] if twos else []) + [size for size, own in groups.items() if own]
    if not sizes:
        raise EvaluationError("There is no item of EditReward-Bench. Give the whole benchmark.")
    of = "overall" if len(sizes) == len(SIZES) else f"overall of {' and '.join(sizes)} alone"
    headline = f"{of}, {TUNED}" if twos else of
    width = tie_width(twos)
    classes = [_class_credit(one, width) for one in twos]
    rankings = [_ranking_credit(one, width, ties) for one in twos]
    right = {size: [_whole_credit(pairs, size) for pairs in own] for size, own in groups.items()}
    grouped = [credit for own in right.values() for credit in own]
    credits = {
        headline: classes + grouped,
        f"{of}, rankings, {TUNED}": rankings + grouped if twos else [],
        f"category/2pair, {TUNED}": classes,
        f"2pair, rankings, {TUNED}": rankings,
        "2pair, without ties": [_pair_credits(one, ties)[0] for one in twos if not _is_tied(one)],
    }
    for size, own in groups.items():
        credits[f"category/{size}"] = right[size]
        credits[f"{size}, single pairs"] = [credit for pairs in own for credit in pairs]
    credits["groups with all their pairs"] = [
        float(len(pairs) == _pairs_of(size)) for size, own in groups.items() for pairs in own
    ]
    figures = figures_of(headline, credits)
    if not twos:
        return figures
    name = "2pair, tuned tie width in units of the score"
    return Figures(headline, figures.values | {name: width}, figures.counts | {name: len(twos)})


def tie_width(twos: Sequence[Scored]) -> float:
    """Largest difference of two scores that counts as a tie, of those at which most pairs are right.

    That is how the official script picks it: on the test set itself. 0 where the judge could not score any.
    """
    known = [one for one in twos if one.scores is not None]
    if not known:
        return 0.0
    difference_P = np.array([_difference(one) for one in known])
    tie_P = np.array([_is_tied(one) for one in known], np.bool_)
    order_P = np.argsort(np.abs(difference_P), kind="stable")
    width_P = np.abs(difference_P)[order_P]
    # Of the pairs up to a width the ties are right, of the others those whose better picture has the higher score.
    gained_P = np.cumsum(tie_P[order_P]) - np.cumsum((~tie_P & (difference_P > 0))[order_P])
    last_P = np.append(width_P[1:] != width_P[:-1], True)
    widths_W: NDArray[np.float64] = np.concatenate(([0.0], width_P[last_P]))
    at_zero = gained_P[width_P == 0][-1:]
    gained_W = np.concatenate((at_zero if len(at_zero) else [0], gained_P[last_P]))
    return float(widths_W[np.argmax(gained_W)])


def winner(scored: Scored, width: float) -> int | None:
    """Place of the picture with the higher score of two; None for a tie, which differs by ``width`` at most."""
    assert scored.scores is not None
    first, second = scored.scores
    if abs(first - second) <= width:
        return None
    return 0 if first > second else 1


def _is_tied(scored: Scored) -> bool:
    """Whether people saw a tie between two pictures."""
    return scored.item.ranks[0] == scored.item.ranks[1]


def _difference(scored: Scored) -> float:
    """Score of the better picture of two less that of the worse; of the first less the second where they tie."""
    assert scored.scores is not None
    first, second = scored.scores
    return second - first if scored.item.ranks[0] > scored.item.ranks[1] else first - second


def _class_credit(scored: Scored, width: float) -> float:
    """Credit of a pair among three classes: one picture is better, the other, or neither."""
    if scored.scores is None:
        return 0.0
    ranks = scored.item.ranks
    better = None if _is_tied(scored) else ranks.index(min(ranks))
    return float(winner(scored, width) == better)


def _ranking_credit(scored: Scored, width: float, ties: TieRule) -> float:
    """Credit of a pair as a ranking: the width is asked where people saw a tie, and else the order of the scores."""
    return _class_credit(scored, width) if _is_tied(scored) else _pair_credits(scored, ties)[0]


def _pair_credits(scored: Scored, ties: TieRule) -> list[float]:
    """Credit of every two pictures of an item with strict ranks; 0 where the judge failed."""
    ranks, scores = scored.item.ranks, scored.scores
    credits: list[float] = []
    for i, j in itertools.combinations(range(len(ranks)), 2):
        better, worse = (i, j) if ranks[i] < ranks[j] else (j, i)
        credits.append(0.0 if scores is None else pair_credit(scores, better, worse, ties))
    return credits


def _groups(scored: Sequence[Scored], ties: TieRule) -> list[list[float]]:
    """Credits of the pairs of each group."""
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for one in scored:
        groups[one.item.group] += _pair_credits(one, ties)
    return list(groups.values())


def _pairs_of(size: str) -> int:
    return SIZES[size] * (SIZES[size] - 1) // 2


def _whole_credit(pairs: Sequence[float], size: str) -> float:
    """Credit of a group: that of its worst pair, and 0 where a pair is missing."""
    return min(pairs) if len(pairs) == _pairs_of(size) else 0.0
