"""Agreement of scores with a full ranking, for many items of one number of responses at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yoj.runtime.agreement import kendall_tau_b

from ._base import TieRule

Floats = NDArray[np.float64]


def agreements(scores_BN: Floats, ranks_BN: Floats, ties: TieRule) -> dict[str, Floats]:
    """Agreement of the scores of B items with their ranks, of which at least two differ in each item.

    Kendall's tau-b and Spearman's correlation run from -1 to 1, and are 0 where all scores are equal. The gain of NDCG
    is the number of responses that are ranked worse; equal scores share the mean of their discounts. MRR is 1 over the
    place of the first response of the best rank; where worse ones have its score too, ``ties`` says whether they stand
    before it, behind it, or as on average.

    Args:
        scores_BN: scores, higher = better.
        ranks_BN: ranks, 1 = best.
        ties: rule for equal scores, in MRR.

    Returns:
        Values [B] by name.
    """
    above_BNN = _more(scores_BN)
    better_BNN = _more(-ranks_BN)
    judged_BNN, ranked_BNN = above_BNN - above_BNN.swapaxes(1, 2), better_BNN - better_BNN.swapaxes(1, 2)
    # Sums of signs are places in the order, apart from a factor and an offset, with the mean 0.
    judged_BN, ranked_BN = judged_BNN.sum(2), ranked_BNN.sum(2)
    return {
        "Kendall tau-b": np.nan_to_num(kendall_tau_b(scores_BN, ranks_BN)),
        "Spearman": _cosine(judged_BN, ranked_BN),
        "NDCG": _ndcg(above_BNN, better_BNN.sum(2)),
        "MRR": 1 / _place(scores_BN, ranks_BN, ties),
    }


def _more(values_BN: Floats) -> Floats:
    """1 where the first of two values is higher, else 0 [B, N, N]."""
    return (values_BN[:, :, None] > values_BN[:, None, :]).astype(np.float64)


def _cosine(a_BK: Floats, b_BK: Floats) -> Floats:
    """Cosine of rows [B]; 0 where one is 0."""
    norm_B = np.sqrt((a_BK**2).sum(1) * (b_BK**2).sum(1))
    return (a_BK * b_BK).sum(1) / np.where(norm_B, norm_B, 1)


def _ndcg(above_BNN: Floats, gains_BN: Floats) -> Floats:
    n = gains_BN.shape[1]
    discounts_N = 1 / np.log2(np.arange(n) + 2)
    summed = np.concatenate([[0.0], np.cumsum(discounts_N)])
    before_BN = above_BNN.sum(1).astype(int)
    end_BN = n - above_BNN.sum(2).astype(int)
    shared_BN = (summed[end_BN] - summed[before_BN]) / (end_BN - before_BN)
    ideal_B = (-np.sort(-gains_BN, axis=1) * discounts_N).sum(1)
    return (gains_BN * shared_BN).sum(1) / ideal_B


def _place(scores_BN: Floats, ranks_BN: Floats, ties: TieRule) -> Floats:
    """Place of the first response of the best rank [B], from 1."""
    best_BN = ranks_BN == ranks_BN.min(axis=1, keepdims=True)
    highest_B1 = np.where(best_BN, scores_BN, -np.inf).max(axis=1, keepdims=True)
    tied_BN = scores_BN == highest_B1
    behind_B = (tied_BN & ~best_BN).sum(1)
    share = {
        "wrong": np.ones(len(behind_B)),
        "right": np.zeros(len(behind_B)),
        "share": 1 / (1 + (tied_BN & best_BN).sum(1)),
    }
    return 1 + (~best_BN & (scores_BN > highest_B1)).sum(1) + behind_B * share[ties]
