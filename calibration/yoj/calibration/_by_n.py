"""Temperature for each number of responses, and its worth on requests that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yoj.runtime.manifest import Quality

from ._errors import CalibrationError
from ._reliability import quality
from .temperature import CHI_SQUARE_95, MIN_SAMPLES, Fit, Samples, fit, gain


@dataclass(frozen=True)
class TemperatureRow:
    """Temperature of some requests, and the quality of their probabilities."""

    n: int | None
    """Number of responses; None for the requests of every N together."""
    samples: int
    fit: Fit
    own: bool
    """Whether the temperature was fitted for this N; False where it is the one of all N, because there are fewer than
    `MIN_SAMPLES` requests or their scores are all equal."""
    before: Quality
    """Quality at temperature 1."""
    after: Quality
    """Quality at cross-fitted temperatures."""


@dataclass(frozen=True)
class Temperatures:
    """Temperatures of a set of requests."""

    pooled: TemperatureRow
    """Temperature of all N together; its ``after`` is that of the temperatures by N."""
    by_n: tuple[TemperatureRow, ...]
    """Temperatures by N, smallest N first."""
    crossed_S: NDArray[np.float64]
    """Temperature of each request as fitted on the other half, float64 [S]."""


def fit_by_n(samples: Samples) -> Temperatures:
    """Fit a temperature for each N on all requests, and measure by cross-fitting.

    For the measure the requests of each N are split in two, every other one; each half is judged at temperatures fitted
    on the other, by the same rules. So no request is judged at a temperature that has seen it.

    Args:
        samples: requests in an order that has nothing to do with their content, each with at least two responses.

    Raises:
        CalibrationError: there are fewer than `MIN_SAMPLES` requests, or scores that cannot be told from chance.
    """
    if len(samples) < MIN_SAMPLES:
        raise CalibrationError(
            f"{len(samples)} requests with rankings, at least {MIN_SAMPLES} are needed: a temperature fitted on fewer "
            "may be worse than none. Add requests."
        )
    n_S = samples.n_S
    sizes = [int(n) for n in np.unique(n_S)]
    pooled = fit(samples)
    won = gain(samples, pooled.temperature)
    if pooled.bound == "random" or won < CHI_SQUARE_95:
        raise CalibrationError(
            f"The scores of {len(samples)} requests cannot be told from chance: the log likelihood of the best "
            f"responses is {won / 2:.2f} nats above that of a guess, {CHI_SQUARE_95 / 2:.2f} are needed. Check that "
            "rank 1 is the best response and that the bundle was exported with the layout of its training."
        )
    large = {n for n in sizes if (n_S == n).sum() >= MIN_SAMPLES}
    own = {n: found for n in large if (found := _fit_unless_equal(samples.of(n_S == n)))}
    crossed_S = _cross_fit(samples, set(own))

    def row(n: int | None, found: Fit, chosen_S: NDArray[np.bool_]) -> TemperatureRow:
        some = samples.of(chosen_S)
        after = quality(some, crossed_S[chosen_S])
        return TemperatureRow(n, len(some), found, n is None or n in own, quality(some, 1.0), after)

    rows = tuple(row(n, own.get(n, pooled), n_S == n) for n in sizes)
    return Temperatures(row(None, pooled, n_S > 0), rows, crossed_S)


def _cross_fit(samples: Samples, own: set[int]) -> NDArray[np.float64]:
    n_S = samples.n_S
    half_S = np.zeros(len(samples), int)
    odd = 0  # an N with an odd number of requests gives the next one's first request to the other half
    for n in np.unique(n_S):
        places = np.flatnonzero(n_S == n)
        half_S[places] = (np.arange(len(places)) + odd) % 2
        odd = (odd + len(places)) % 2
    crossed_S = np.empty(len(samples))
    for half in (0, 1):
        seen_S = half_S != half
        pooled = fit(samples.of(seen_S))
        for n in np.unique(n_S[~seen_S]):
            found = _fit_unless_equal(samples.of(seen_S & (n_S == n))) if n in own else None
            crossed_S[~seen_S & (n_S == n)] = (found or pooled).temperature
    return crossed_S


def _fit_unless_equal(samples: Samples) -> Fit | None:
    try:
        return fit(samples)
    except CalibrationError:
        return None
