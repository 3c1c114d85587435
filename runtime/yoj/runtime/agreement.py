"""Agreement of scores with ranks, for many requests of one number of responses at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def pairs(scores_BN: ArrayLike, ranks_BN: ArrayLike, tied: float = 0.5) -> tuple[Floats, Floats]:
    """Credit for the pairs of responses with different ranks, [B], and number of such pairs, [B].

    Args:
        scores_BN: scores, the higher the better.
        ranks_BN: ranks, 1 = best; equal ones are ties.
        tied: credit for a pair of equal scores; a pair that is ordered rightly has 1.
    """
    scores_BNN, better_BNN = _differences(scores_BN), (_differences(ranks_BN) < 0).astype(np.float64)
    right_BNN = (scores_BNN > 0) + tied * (scores_BNN == 0)
    return (better_BNN * right_BNN).sum((1, 2)), better_BNN.sum((1, 2))


def kendall_tau_b(scores_BN: ArrayLike, ranks_BN: ArrayLike) -> Floats:
    """Kendall's tau-b of scores and ranks, [B]: 1 where they order all pairs alike; NaN where one of them is constant.

    Args:
        scores_BN: scores, the higher the better.
        ranks_BN: ranks, 1 = best; equal ones are ties.
    """
    judged_BNN, ranked_BNN = np.sign(_differences(scores_BN)), -np.sign(_differences(ranks_BN))
    apart_B = np.sqrt((judged_BNN**2).sum((1, 2)) * (ranked_BNN**2).sum((1, 2)))
    with np.errstate(invalid="ignore"):
        tau_B: Floats = (judged_BNN * ranked_BNN).sum((1, 2)) / apart_B
    return tau_B


def _differences(values_BN: ArrayLike) -> Floats:
    values = np.asarray(values_BN, np.float64)
    return values[:, :, None] - values[:, None, :]
