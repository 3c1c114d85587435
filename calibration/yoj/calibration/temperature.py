"""Temperatures under which softmax(scores / T) is P(best), fitted on rankings.

Temperature scaling is that of Guo et al. 2017 (arXiv 1706.04599, section 4.2), with the N responses of a request in the
place of classes and one temperature for each N. Letters: S requests, N responses of the longest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ._errors import CalibrationError

MIN_SAMPLES = 100
"""Number of requests from which a temperature is fitted. One fitted parameter costs about 1/(2S) nats of log likelihood
per request, whatever the scores (Wilks 1938; Akaike 1974): 0.005 nats here. Where the judge errs in 3 of 100 requests
it is more: fits to parts of 3,000 requests to the small Qwen3-VL judge cost 0.009 nats at S = 50, 0.010 at 100, 0.002
at 300."""
FLATTEST = 100.0
"""Largest temperature, in root mean squares of the centred scores: probabilities then are 1/N within about 1 %."""
SHARPEST = 1e-6
"""Smallest temperature in the same unit, where `_sharpest` gives none."""
CHI_SQUARE_95 = 3.841
"""95 % quantile of chi-square with one degree of freedom: twice the log likelihood gained by chance in 1 of 20
samples."""

Bound = Literal["", "perfect", "random"]


@dataclass(frozen=True)
class Samples:
    """Scored requests with rankings."""

    scores_SN: NDArray[np.float64]
    """Scores, -inf where a request has fewer responses."""
    shares_SN: NDArray[np.float64]
    """Shares of the best place: 1 for the best response; the best of a tie share it; 0 for the others and where there
    is no response."""

    @property
    def n_S(self) -> NDArray[np.int64]:
        """Number of responses of each request, int64 [S]."""
        return np.isfinite(self.scores_SN).sum(axis=1)

    def __len__(self) -> int:
        return len(self.scores_SN)

    def of(self, chosen_S: NDArray[np.bool_] | NDArray[np.int64]) -> Samples:
        """Selection of the requests, by a mask [S] or by their numbers."""
        return Samples(self.scores_SN[chosen_S], self.shares_SN[chosen_S])


@dataclass(frozen=True)
class Fit:
    """One fitted temperature."""

    temperature: float
    relative_error: float
    """Standard error of log T from the curvature of the likelihood, if softmax(scores / T) is the truth."""
    bound: Bound
    """Bound that T hit, or empty. perfect: the scores make next to no mistake, so that the likelihood rises down to T =
    0 or nearly so; T is such that one mistake in S + 2 is expected (Laplace's rule of succession). random: it rises up
    to T = infinity; T is `FLATTEST`."""


def samples_of(scores: Sequence[Sequence[float]], rankings: Sequence[Sequence[float]]) -> Samples:
    """Build samples from lists.

    Args:
        scores: [S][N] finite scores.
        rankings: [S][N] ranks, smallest = best, ties allowed.

    Raises:
        ValueError: scores and rankings have unlike lengths, there are no responses, or scores are not finite.
    """
    size = max((len(row) for row in scores), default=0)
    scores_SN = np.full((len(scores), size), -np.inf)
    shares_SN = np.zeros((len(scores), size))
    for row, (found, ranks) in enumerate(zip(scores, rankings, strict=True)):
        if len(found) != len(ranks) or not len(found) or not np.isfinite(found).all():
            raise ValueError(f"request {row}: scores {list(found)}, rankings {list(ranks)}.")
        scores_SN[row, : len(found)] = found
        best_N = np.asarray(ranks) == min(ranks)
        shares_SN[row, : len(found)] = best_N / best_N.sum()
    return Samples(scores_SN, shares_SN)


def probabilities(scores_SN: NDArray[np.float64], temperature_S: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Probabilities softmax(scores / T) of each row, float64 [S, N]; 0 where there is no response."""
    scaled_SN = (scores_SN - scores_SN.max(axis=1, keepdims=True)) / np.reshape(temperature_S, (-1, 1))
    weights_SN = np.exp(scaled_SN)
    return weights_SN / weights_SN.sum(axis=1, keepdims=True)


def likelihoods(samples: Samples, temperature_S: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Negative log likelihood of the best response of each request, in nats, float64 [S]: -sum of share * log P.

    Convex in 1/T, as a log-sum-exp less a linear term. Of a tie for best it is the mean over the best.
    """
    scaled_SN = (samples.scores_SN - samples.scores_SN.max(axis=1, keepdims=True)) / np.reshape(temperature_S, (-1, 1))
    log_sum_S = np.log(np.exp(scaled_SN).sum(axis=1))
    return log_sum_S - (samples.shares_SN * np.where(samples.shares_SN > 0, scaled_SN, 0)).sum(axis=1)


def fit(samples: Samples) -> Fit:
    """Fit the temperature of least negative log likelihood.

    The derivative by 1/T, the sum over requests of E_P[score] - E_share[score], only rises; its root is found by
    bisection of log(1/T) to the last bits, which no start and no scale of the scores can mislead.

    Args:
        samples: at least one request.

    Raises:
        CalibrationError: within each request all scores are equal.
    """
    present_SN = np.isfinite(samples.scores_SN)
    filled_SN = np.where(present_SN, samples.scores_SN, 0)
    mean_S1 = filled_SN.sum(axis=1, keepdims=True) / samples.n_S[:, None]
    centred_SN = np.where(present_SN, filled_SN - mean_S1, 0)
    unit = float(np.sqrt((centred_SN**2).sum() / present_SN.sum()))
    if unit == 0:
        raise CalibrationError(
            f"In each of {len(samples)} requests all responses have the same score, so no temperature says which is "
            "best. Check that the requests have different responses."
        )
    scaled_SN = np.where(present_SN, centred_SN / unit, -np.inf)
    finite_SN = centred_SN / unit
    target = float((samples.shares_SN * finite_SN).sum())

    def slope(inverse: float) -> float:
        return float((probabilities(scaled_SN, 1 / inverse) * finite_SN).sum()) - target

    low, high = 1 / FLATTEST, 1 / _sharpest(scaled_SN)
    bound: Bound = "random" if slope(low) >= 0 else "perfect" if slope(high) <= 0 else ""
    inverse = {"random": low, "perfect": high}.get(bound) or _root(slope, low, high)
    chances_SN = probabilities(scaled_SN, 1 / inverse)
    means_S = (chances_SN * finite_SN).sum(axis=1)
    information = float(((chances_SN * finite_SN**2).sum(axis=1) - means_S**2).sum())
    error = 1 / (inverse * np.sqrt(information)) if information > 0 else np.inf
    return Fit(unit / inverse, float(error), bound)


def gain(samples: Samples, temperature: float) -> float:
    """Twice the log likelihood, summed over the requests, that the temperature gains over even probabilities.

    Below `CHI_SQUARE_95` the scores cannot be told from chance (likelihood ratio, one parameter: 1/T = 0).
    """
    return 2 * float((np.log(samples.n_S) - likelihoods(samples, temperature)).sum())


def _sharpest(scaled_SN: NDArray[np.float64]) -> float:
    """Temperature at which one mistake in S + 2 is expected of the response that is scored first."""
    first_SN = scaled_SN == scaled_SN.max(axis=1, keepdims=True)
    expected = 1 / (len(scaled_SN) + 2)

    def missing(inverse: float) -> float:
        return expected - float(np.where(first_SN, 0, probabilities(scaled_SN, 1 / inverse)).sum(axis=1).mean())

    # It falls from at most 1 to 0 as 1/T rises.
    return 1 / _root(missing, 1 / FLATTEST, 1 / SHARPEST)


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Root of a rising function, by bisection of the logarithm; the nearer end where there is none."""
    while high / low > 1 + 1e-14:
        middle = float(np.sqrt(low * high))
        if middle in (low, high):
            break
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return float(np.sqrt(low * high))
