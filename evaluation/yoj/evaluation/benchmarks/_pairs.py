"""Credit of one pair, for benchmarks that count thousands of pairs in each of a thousand resamples."""

from __future__ import annotations

from collections.abc import Sequence

from ._base import TieRule

TIED_PAIR: dict[TieRule, float] = {"wrong": 0.0, "right": 1.0, "share": 0.5}
"""Rule for ties -> credit for a pair of equal scores."""


def pair_credit(scores: Sequence[float], better: int, worse: int, ties: TieRule) -> float:
    """Credit for the scores of two responses, as `credit_of` counts them.

    Args:
        scores: [N] scores.
        better: place of the response that people prefer.
        worse: place of the other.
        ties: rule for equal scores.
    """
    if scores[better] == scores[worse]:
        return TIED_PAIR[ties]
    return float(scores[better] > scores[worse])
