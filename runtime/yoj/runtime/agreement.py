"""Agreement of scores with ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pairs(scores_N: Sequence[float], ranks_N: Sequence[float]) -> tuple[float, int]:
    """Pairs of responses with different ranks that scores order rightly, equal scores half, and number of such pairs.

    Args:
        scores_N: scores, the higher the better.
        ranks_N: ranks, 1 = best; equal ones are ties.
    """
    agree_NN, differ_NN = _signs(scores_N, ranks_N)
    count = int(np.count_nonzero(differ_NN)) // 2
    return (float(agree_NN.sum()) / 2 + count) / 2, count


def kendall_tau_b(scores_N: Sequence[float], ranks_N: Sequence[float]) -> float:
    """Kendall's tau-b of scores and ranks: 1 where they order all pairs alike; NaN where one of them is constant."""
    agree_NN, differ_NN = _signs(scores_N, ranks_N)
    apart = np.count_nonzero(np.subtract.outer(scores_N, scores_N)), np.count_nonzero(differ_NN)
    return float(agree_NN.sum()) / math.sqrt(apart[0] * apart[1]) if all(apart) else math.nan


def _signs(scores_N: Sequence[float], ranks_N: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each pair 1 where scores and ranks agree, -1 where they do not, 0 where one of them is equal.

    The second is 0 where the ranks are equal.
    """
    differ_NN = np.sign(np.subtract.outer(ranks_N, ranks_N).astype(np.float64))
    return -np.sign(np.subtract.outer(scores_N, scores_N)) * differ_NN, differ_NN
