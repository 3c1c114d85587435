"""Calibration of a judge at one N: P(best) beside how often the first answer is the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yoj.calibration.temperature import Samples, fit, likelihoods, probabilities, samples_of

from .data import StudyItem
from .figures import figure, mean
from .judges import Judge

BINS = 15
"""Bins of the calibration error, each of equally many items."""


def calibration(judge: Judge, items: Sequence[StudyItem], n: int) -> dict[str, Any]:
    """Likelihood, Brier score and calibration error, at temperature 1 and at the one fitted on the other half.

    The halves are drawn, since the place of the best answer goes round with the items.

    Raises:
        CalibrationError: all scores of a half are equal.
    """
    packs = [item.pack(n) for item in items]
    scores = [judge.scores([item.request(pack.answers)])[0] for item, pack in zip(items, packs, strict=True)]
    samples = samples_of(
        [scores_N.tolist() for scores_N in scores], [[1 + (k != pack.gold) for k in range(n)] for pack in packs]
    )
    fitted_S = cross_fitted(samples)
    return {
        "items": len(items),
        "temperatures": sorted(set(fitted_S.tolist())),
        "as_it_is": _figures(samples, np.ones(len(samples))),
        "fitted": _figures(samples, fitted_S),
    }


def cross_fitted(samples: Samples) -> NDArray[np.float64]:
    """Temperature of each request as fitted on the half that it is not in, float64 [S]."""
    half_S = np.random.default_rng(0).permutation(len(samples)) % 2
    fitted = [fit(samples.of(half_S != half)).temperature for half in (0, 1)]
    return np.array(fitted)[half_S]


def first_error(samples: Samples, temperature_S: NDArray[np.float64]) -> float:
    """Calibration error of the first answer alone: over bins of equally many requests, |mean P - share right|."""
    chances_SN = probabilities(samples.scores_SN, temperature_S)
    first_S = chances_SN.argmax(axis=1)
    rows_S = np.arange(len(samples))
    right_S = samples.shares_SN[rows_S, first_S]
    sure_S = chances_SN[rows_S, first_S]
    gaps = [
        abs(float((sure_S[own] - right_S[own]).sum()))
        for own in np.array_split(np.argsort(sure_S, kind="stable"), BINS)
    ]
    return sum(gaps) / len(samples)


def _figures(samples: Samples, temperature_S: NDArray[np.float64]) -> dict[str, Any]:
    """Figures at a temperature of each request; see `yoj.calibration._reliability.quality` for the first two.

    The calibration error of a resample is larger than that of all, since bins of repeated items scatter more: its
    interval lies too high.
    """
    apart_SN = probabilities(samples.scores_SN, temperature_S) - samples.shares_SN
    return {
        "nll": mean(likelihoods(samples, temperature_S).tolist()),
        "brier": mean((apart_SN**2).sum(axis=1).tolist()),
        "ece": figure(lambda own: first_error(samples.of(own), temperature_S[own]), len(samples)),
    }
