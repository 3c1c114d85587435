"""Quality of a judge's probabilities, for each number of responses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._predictions import Prediction
from .benchmarks._base import credit_of

BINS = 15
"""Number of bins of confidence, which hold equally many items."""


@dataclass(frozen=True)
class ConfidenceBin:
    """Items of similar confidence."""

    items: int
    confidence: float
    """Mean probability of the response that was chosen."""
    right: float
    """Share of the items where it is one of the best; equal to ``confidence`` where probabilities are calibrated."""


@dataclass(frozen=True)
class ProbabilityFigures:
    """Figures for items of N responses: P = softmax(scores / temperature) in the first order, against the ranks."""

    n: int
    items: int
    temperatures: tuple[float, ...]
    """Temperatures of the judge, of which there is one for each N."""
    calibrated: bool
    """Whether all of them were fitted."""
    nll: float
    """Mean over items of -log P of the best response, in nats; of a tie for best it is the mean over the best."""
    brier: float
    """Mean over items of the sum over responses of (P - share)^2; the best responses share 1."""
    ece: float
    """Expected calibration error: mean over items of |confidence - share right| of their bin."""
    bins: tuple[ConfidenceBin, ...]


def probability_figures(predictions: Sequence[Prediction]) -> tuple[ProbabilityFigures, ...]:
    """Compute the figures by N, from items of two responses or more that were scored."""
    by_n: defaultdict[int, list[Prediction]] = defaultdict(list)
    for one in predictions:
        if one.passes and len(one.ranks) > 1:
            by_n[len(one.ranks)].append(one)
    return tuple(_figures(n, of) for n, of in sorted(by_n.items()))


def _figures(n: int, predictions: Sequence[Prediction]) -> ProbabilityFigures:
    temperature_S = np.array([one.temperature for one in predictions])
    scaled_SN = np.array([one.passes[0].scores for one in predictions]) / temperature_S[:, None]
    ranks_SN = np.array([one.ranks for one in predictions])
    best_SN = ranks_SN == ranks_SN.min(axis=1, keepdims=True)
    shares_SN = best_SN / best_SN.sum(axis=1, keepdims=True)
    scaled_SN = scaled_SN - scaled_SN.max(axis=1, keepdims=True)
    log_SN = scaled_SN - np.log(np.exp(scaled_SN).sum(axis=1, keepdims=True))
    confidence_S = np.exp(log_SN).max(axis=1)
    right_S = np.array([credit_of(one.passes[0].scores, one.ranks, "share") for one in predictions])
    found = _bins(confidence_S, right_S)
    return ProbabilityFigures(
        n=n,
        items=len(predictions),
        temperatures=tuple(sorted({*temperature_S.tolist()})),
        calibrated=all(one.calibrated for one in predictions),
        nll=float(-(shares_SN * log_SN).sum(axis=1).mean()),
        brier=float(((np.exp(log_SN) - shares_SN) ** 2).sum(axis=1).mean()),
        ece=sum(one.items * abs(one.confidence - one.right) for one in found) / len(predictions),
        bins=found,
    )


def _bins(confidence_S: NDArray[np.float64], right_S: NDArray[np.float64]) -> tuple[ConfidenceBin, ...]:
    """Bins of equally many items, the least confident first."""
    order_S = np.argsort(confidence_S, kind="stable")
    parts = np.array_split(order_S, min(BINS, len(order_S)))
    return tuple(
        ConfidenceBin(len(part), float(confidence_S[part].mean()), float(right_S[part].mean())) for part in parts
    )
