"""Credit of one pair, for benchmarks that count thousands of pairs in each of a thousand resamples."""

from __future__ import annotations

from collections.abc import Sequence

from ._base import TieRule

_OF_TIES: dict[TieRule, float] = {"wrong": 0.0, "right": 1.0, "share": 0.5}


def pair_credit(scores: Sequence[float], better: int, worse: int, ties: TieRule) -> float:
    """Credit for the scores of two responses, as `credit_of` counts them.

    Args:
        scores: [N] scores.
        better: place of the response that people prefer.
        worse: place of the other.
        ties: rule for equal scores.
    """
    if scores[better] == scores[worse]:
        return _OF_TIES[ties]
    return float(scores[better] > scores[worse])
