"""Scores of candidates by the models of Bradley and Terry, and of Plackett and Luce.

Both say that of a set of candidates one is the best with a probability in proportion to exp(score). Votes are stages: a
vote on two is one; a ranking of M is M - 1, in each of which the best of those that remain is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._errors import EvaluationError
from .comparisons import Floats, ListCells, VoteCounts, pair_wins

ALPHA = 0.01
"""Strength of the regularisation where nothing else is said."""
LEAST_ALPHA = 1e-6
"""Least strength that counts beside the rounding of as many votes as can be."""
MOST_STEPS = 200
CLOSE = 1e-9
"""Largest step after which the scores have converged."""


@dataclass(frozen=True)
class VoteStages:
    """VoteStages of R sets of votes on the same N candidates."""

    won_RN: Floats
    """VoteStages that each candidate won."""
    met_RNN: Floats
    """VoteStages of two candidates, symmetric."""
    sets_SN: NDArray[np.bool_]
    """Members of each other set of candidates."""
    drawn_RS: Floats
    """VoteStages of each of these sets."""


def pair_stages(counts: VoteCounts, lists: Sequence[tuple[int, ...]]) -> VoteStages:
    """VoteStages where a list counts as votes on its pairs."""
    return _of_pairs(pair_wins(counts, lists))


def list_stages(counts: VoteCounts, lists: Sequence[tuple[int, ...]]) -> VoteStages:
    """VoteStages where a list is a ranking of Plackett and Luce."""
    pairs = _of_pairs(pair_wins(counts, ()))
    n = pairs.won_RN.shape[1]
    won, last, drawn = ListCells(), ListCells(), ListCells()
    sets: dict[frozenset[int], int] = {}
    for owner, ranked in enumerate(lists):
        for place in range(len(ranked) - 2):
            won.add(ranked[place], owner)
            drawn.add(sets.setdefault(frozenset(ranked[place:]), len(sets)), owner)
        last.add(ranked[-2] * n + ranked[-1], owner)
    sets_SN = np.zeros((len(sets), n), np.bool_)
    for members, index in sets.items():
        sets_SN[index, list(members)] = True
    lasts = _of_pairs(last.total(counts.lists_RB, n * n).reshape(pairs.met_RNN.shape))
    return VoteStages(
        pairs.won_RN + lasts.won_RN + won.total(counts.lists_RB, n),
        pairs.met_RNN + lasts.met_RNN,
        sets_SN,
        drawn.total(counts.lists_RB, len(sets)),
    )


def _of_pairs(wins_RNN: Floats) -> VoteStages:
    n = wins_RNN.shape[1]
    met_RNN = wins_RNN + wins_RNN.transpose(0, 2, 1)
    return VoteStages(wins_RNN.sum(axis=2), met_RNN, np.zeros((0, n), np.bool_), np.zeros((len(wins_RNN), 0)))


def fit(stages: VoteStages, alpha: float, start_N: Floats | None = None) -> Floats:
    """Scores that fit the votes best, natural logarithms with the mean 0.

    The regularisation is that of I-LSR in the package choix, whose chain goes from each candidate to each other at
    the rate ``alpha`` more than the votes say: about as much as 2 ``alpha`` votes of each over each other. Its fixed
    point is the maximum of the likelihood times a Gamma prior for each exp(score), which Newton's method finds for all
    sets at once. It exists for all votes, also where a candidate lost none or was never compared with some others.

    Args:
        stages: stages of R sets of votes.
        alpha: strength of the regularisation, from `LEAST_ALPHA`.
        start_N: scores to start from, which must have the mean 0.

    Returns:
        Scores float64 [R, N].

    Raises:
        EvaluationError: the scores do not converge.
    """
    count, n = stages.won_RN.shape
    scores_RN = np.zeros((count, n)) if start_N is None else np.tile(start_N, (count, 1))
    size_R = np.full(count, np.inf)
    for _ in range(MOST_STEPS):
        slope_RN, curve_RNN = _derivatives(stages, scores_RN, alpha * n)
        step_RN = np.linalg.solve(curve_RNN, slope_RN[:, :, None])[:, :, 0].astype(np.float64)
        # The third derivative is at most this times the second, so that steps up to 1 cannot overshoot.
        size_R = np.maximum(np.abs(step_RN).max(axis=1), np.ptp(step_RN, axis=1))
        scores_RN = scores_RN + step_RN / np.maximum(1, size_R)[:, None]
        if size_R.max() < CLOSE:
            return scores_RN - scores_RN.mean(axis=1, keepdims=True)
    raise EvaluationError(
        f"Scores of {n} candidates did not converge in {MOST_STEPS} steps with alpha={alpha:g}; the last step was "
        f"{size_R.max():g}. Give a larger alpha, such as {ALPHA}."
    )


def _derivatives(stages: VoteStages, scores_RN: Floats, prior: float) -> tuple[Floats, Floats]:
    """First derivatives of the logarithm of the posterior, [R, N], and second ones with the sign changed, [R, N, N]."""
    n = scores_RN.shape[1]
    weights_RN = np.exp(scores_RN)
    share_RNN = weights_RN[:, :, None] / (weights_RN[:, :, None] + weights_RN[:, None, :])
    expected_RNN = stages.met_RNN * share_RNN
    slope_RN = stages.won_RN - expected_RNN.sum(axis=2) + prior * (1 - weights_RN)
    curve_RNN = -expected_RNN * share_RNN.transpose(0, 2, 1)
    diagonal_RN = prior * weights_RN - curve_RNN.sum(axis=2)
    if len(stages.sets_SN):
        held_RSN = weights_RN[:, None, :] * stages.sets_SN
        share_RSN = held_RSN / held_RSN.sum(axis=2, keepdims=True)
        expected_RSN = stages.drawn_RS[:, :, None] * share_RSN
        slope_RN -= expected_RSN.sum(axis=1)
        diagonal_RN += expected_RSN.sum(axis=1)
        curve_RNN -= expected_RSN.transpose(0, 2, 1) @ share_RSN
    curve_RNN[:, np.arange(n), np.arange(n)] += diagonal_RN
    return slope_RN, curve_RNN
