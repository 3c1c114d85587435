"""Rewards from the scores of one group."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._settings import RewardSettings


def reward_of(scores_N: NDArray[np.float64], temperature: float, settings: RewardSettings) -> NDArray[np.float64]:
    """Rewards float64 [N] of N responses, of which equal ones are equal.

    Args:
        scores_N: scores of one group on one scale, copies included.
        temperature: temperature of P(best).
        settings: kind of reward, and the floor under the standard deviation.
    """
    spread, centred_N = scores_N.std(), scores_N - scores_N.mean()
    if settings.reward == "standardised":
        divisor = max(spread, settings.spread_floor)
        return centred_N / divisor if divisor else np.zeros_like(scores_N)
    level_N = np.full_like(scores_N, scores_N.mean()) if spread < settings.spread_floor else scores_N
    if settings.reward == "raw":
        return level_N
    if settings.reward == "log_probability":
        scaled_N = level_N / temperature
        return scaled_N - np.logaddexp.reduce(scaled_N)
    if settings.reward == "rank":
        worse_N = (level_N[:, None] > level_N[None, :]).sum(axis=1)
        better_N = (level_N[:, None] < level_N[None, :]).sum(axis=1)
        return (worse_N - better_N) / max(1, len(level_N) - 1)
    return np.zeros_like(scores_N) if spread < settings.spread_floor else centred_N
