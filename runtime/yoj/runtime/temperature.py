"""Temperature of a request's probabilities, and whether they may be called calibrated."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

from .manifest import Mode, Probabilities


@dataclass(frozen=True)
class ScoringConditions:
    """Conditions under which one request was scored: all that a fit may or may not hold for."""

    n: int
    mode: Mode
    orders: int
    """Number of packs that were read: orders of all responses, or groups of some."""
    precision: str


def temperature_for(probabilities: Probabilities, n: int) -> float:
    """Temperature of requests with N responses, > 0.

    Between two fitted N, log T is linear in log N: always positive, between its neighbours, and in proportion to the
    scores' own unit, as temperatures are. Beyond the fitted N it stays that of the nearest, for nothing was seen there.
    """
    by_n = sorted((entry.N, entry.temperature) for entry in probabilities.by_n)
    if not by_n:
        return probabilities.temperature
    place = bisect_left(by_n, (n, 0.0))
    if place == len(by_n):
        return by_n[-1][1]
    above, temperature = by_n[place]
    if place == 0 or above == n:
        return temperature
    below, other = by_n[place - 1]
    share = math.log(n / below) / math.log(above / below)
    return math.exp((1 - share) * math.log(other) + share * math.log(temperature))


def why_uncalibrated(probabilities: Probabilities, read: ScoringConditions) -> str | None:
    """Reason why the probabilities of a request are not calibrated; None where they are."""
    fit = probabilities.fit
    if not probabilities.calibrated or fit is None:
        return "no temperature was fitted"
    if read.precision != fit.precision:
        return f"fitted in {fit.precision}, scored in {read.precision}"
    if read.mode != fit.mode:
        return f"fitted in {fit.mode} mode, read in {read.mode} mode"
    if read.orders > 1:
        return f"fitted on one order, read in {read.orders}"
    known = sorted(entry.N for entry in probabilities.by_n)
    if read.n > 1 and known and not known[0] <= read.n <= known[-1]:  # the probability of a single response is 1 anyhow
        fitted = f"N={known[0]}" + (f" to {known[-1]}" if len(known) > 1 else "")
        return f"fitted on {fitted}, here N={read.n}"
    return None


def describe(probabilities: Probabilities) -> str:
    """Summary in one line: the temperatures, and the conditions of their fit."""
    fit = probabilities.fit
    if fit is None:
        said = "fitted on rankings" if probabilities.calibrated else "not calibrated"
        return f"softmax of scores / {probabilities.temperature:g}, {said}"
    by_n = ", ".join(f"{entry.temperature:.4g} for N={entry.N}" for entry in probabilities.by_n)
    return (
        f"softmax of scores / temperature: {by_n}; fitted on {fit.samples} rankings in {fit.mode} mode, one order, "
        f"{fit.engine} {fit.precision}, and calibrated for that mode and precision only; held out, the NLL went from "
        f"{fit.before.nll:.3f} to {fit.after.nll:.3f}, the calibration error from {fit.before.ece:.3f} to "
        f"{fit.after.ece:.3f} (calibration/probabilities.json, calibration/reliability.svg)"
    )
