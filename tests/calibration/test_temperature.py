"""Temperatures: recovered where they are known, equal to hand-computed figures, and in the unit of the scores."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoj.calibration._by_n import fit_by_n
from yoj.calibration._errors import CalibrationError
from yoj.calibration._reliability import bins, draw, quality
from yoj.calibration.temperature import FLATTEST, MIN_SAMPLES, Samples, fit, likelihoods, probabilities, samples_of
from yoj.runtime import manifest as m
from yoj.runtime.temperature import ScoringConditions, describe, temperature_for, why_uncalibrated


def simulate(rng: np.random.Generator, requests: int, n: int, temperature: float) -> Samples:
    """Rankings that softmax(scores / temperature) is the truth of (Gumbel noise, McFadden 1974)."""
    scores_SN = rng.normal(0, 2, (requests, n))
    best_S = (scores_SN / temperature + rng.gumbel(size=scores_SN.shape)).argmax(axis=1)
    rankings = [[1 if place == best else 2 for place in range(n)] for best in best_S]
    return samples_of(scores_SN.tolist(), rankings)


def together(*parts: Samples) -> Samples:
    size = max(part.scores_SN.shape[1] for part in parts)

    def wide(values_SN: np.ndarray, empty: float) -> np.ndarray:
        return np.pad(values_SN, ((0, 0), (0, size - values_SN.shape[1])), constant_values=empty)

    return Samples(
        np.concatenate([wide(part.scores_SN, -np.inf) for part in parts]),
        np.concatenate([wide(part.shares_SN, 0) for part in parts]),
    )


# The fit


@pytest.mark.slow
@pytest.mark.parametrize(("n", "temperature"), [(2, 0.5), (4, 1.0), (16, 3.0)])
def test_a_known_temperature_is_recovered_within_its_stated_error(n, temperature):
    rng = np.random.default_rng(n)
    fits = [fit(simulate(rng, 400, n, temperature)) for _ in range(100)]
    errors = [math.log(found.temperature / temperature) for found in fits]
    inside = np.mean([abs(e) < 1.96 * f.relative_error for e, f in zip(errors, fits, strict=True)])
    assert 0.88 <= inside <= 1  # 95 % of 100, and four standard deviations of that
    assert abs(np.mean(errors)) < 4 * np.std(errors) / 10 + 0.01  # the likelihood's own bias falls as 1/S


@pytest.mark.slow
@settings(deadline=None)
@given(
    rows=st.lists(st.lists(st.floats(-30, 30), min_size=2, max_size=5), min_size=1, max_size=6),
    inverses=st.tuples(st.floats(0, 20), st.floats(0, 20)),
    data=st.data(),
)
def test_the_likelihood_is_convex_in_the_inverse_of_the_temperature(rows, inverses, data):
    rankings = [data.draw(st.lists(st.integers(1, 3), min_size=len(row), max_size=len(row))) for row in rows]
    samples = samples_of(rows, rankings)
    low, middle, high = (
        float(likelihoods(samples, 1 / max(inverse, 1e-9)).sum())
        for inverse in (inverses[0], sum(inverses) / 2, inverses[1])
    )
    assert middle <= (low + high) / 2 + 1e-6


def test_the_fit_is_the_lowest_point_of_the_likelihood():
    samples = simulate(np.random.default_rng(1), 300, 4, 0.8)
    found = fit(samples).temperature
    here = likelihoods(samples, found).sum()
    assert all(here < likelihoods(samples, found * factor).sum() for factor in (0.5, 0.99, 1.01, 2.0))


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(factor=st.floats(1e-3, 1e3), shift=st.floats(-100, 100), seed=st.integers(0, 5))
def test_scores_in_another_unit_give_a_temperature_in_that_unit_and_equal_probabilities(factor, shift, seed):
    samples = simulate(np.random.default_rng(seed), 60, 3, 1.0)
    other = Samples(samples.scores_SN * factor + shift, samples.shares_SN)
    one, two = fit(samples).temperature, fit(other).temperature
    assert two == pytest.approx(one * factor, rel=1e-6)
    expected_SN = probabilities(samples.scores_SN, one)
    assert probabilities(other.scores_SN, two) == pytest.approx(expected_SN, abs=1e-6)


def test_scores_without_a_mistake_are_bounded_where_one_mistake_is_expected():
    samples = simulate(np.random.default_rng(2), 98, 4, 1e-9)
    found = fit(samples)
    assert found.bound == "perfect"
    assert probabilities(samples.scores_SN, found.temperature).max(axis=1).mean() == pytest.approx(99 / 100)


def test_scores_against_the_rankings_are_bounded_where_probabilities_are_even():
    samples = simulate(np.random.default_rng(3), 100, 4, 1.0)
    found = fit(Samples(-samples.scores_SN, samples.shares_SN))
    assert found.bound == "random"
    spread = float(np.sqrt(((samples.scores_SN - samples.scores_SN.mean(axis=1, keepdims=True)) ** 2).mean()))
    assert found.temperature == pytest.approx(FLATTEST * spread)
    assert probabilities(-samples.scores_SN, found.temperature) == pytest.approx(np.full((100, 4), 0.25), abs=0.02)


def test_equal_scores_are_refused():
    with pytest.raises(CalibrationError, match="all responses have the same score"):
        fit(samples_of([[1, 1], [2, 2]], [[1, 2], [2, 1]]))


def test_the_best_of_a_tie_share_it():
    samples = samples_of([[0, 0, 0], [1, 2]], [[1, 1, 3], [4, 2]])
    assert samples.shares_SN.tolist() == [[0.5, 0.5, 0], [0, 1, 0]]
    assert samples.n_S.tolist() == [3, 2]
    assert likelihoods(samples, 1.0)[0] == pytest.approx(math.log(3))
    # Ties want even probabilities and the others sharp ones: 1/(1 + e^-b) - 1/2 = 3/(1 + e^3b) at b = 1/T.
    found = fit(samples_of([[1.0, 0.0], [3.0, 0.0]] * 20, [[1, 1], [1, 2]] * 20))
    inverse = 1 / found.temperature
    assert found.bound == ""
    assert 1 / (1 + math.exp(-inverse)) - 0.5 == pytest.approx(3 / (1 + math.exp(3 * inverse)))


@pytest.mark.parametrize(
    ("scores", "rankings"), [([[1.0]], [[1, 2]]), ([[]], [[]]), ([[math.nan, 1]], [[1, 2]]), ([[1, 2]], [])]
)
def test_what_is_no_sample_is_refused(scores, rankings):
    with pytest.raises(ValueError, match=r"request 0|zip"):
        samples_of(scores, rankings)


# The measures


def test_quality_of_hand_computed_probabilities():
    """P = 0.75, 0.25 with the first best, then with the second best."""
    samples = samples_of([[math.log(3), 0], [math.log(3), 0]], [[1, 2], [2, 1]])
    found = quality(samples, 1.0)
    assert found.nll == pytest.approx((-math.log(0.75) - math.log(0.25)) / 2)
    assert found.brier == pytest.approx((2 * 0.25**2 + 2 * 0.75**2) / 2)
    assert found.ece == pytest.approx(0.25)  # each of the two bins: |0.75 - 0.5|, |0.25 - 0.5|
    assert [(b.count, b.best) for b in bins(samples, 1.0)] == [(2, 0.5), (2, 0.5)]
    assert [b.probability for b in bins(samples, 1.0)] == pytest.approx([0.25, 0.75])


def test_quality_of_a_guess_and_of_certainty():
    rankings = [[1, 2, 3, 4]] * 4
    guess = quality(samples_of([[0.0] * 4] * 4, rankings), 1.0)
    assert (guess.nll, guess.brier, guess.ece) == pytest.approx((math.log(4), 0.75, 0))
    certain = quality(samples_of([[9.0, 0, 0, 0]] * 4, rankings), 0.01)
    assert (certain.nll, certain.brier, certain.ece) == pytest.approx((0, 0, 0), abs=1e-12)


def test_probabilities_of_the_truth_are_calibrated_and_of_another_temperature_are_not():
    samples = simulate(np.random.default_rng(4), 5000, 4, 1.0)
    right, wrong = quality(samples, 1.0), quality(samples, 0.3)
    assert right.ece < 0.02 < 0.05 < wrong.ece
    assert right.nll < wrong.nll
    assert right.brier < wrong.brier


@pytest.mark.slow
def test_the_same_bins_are_drawn_as_the_same_bytes(tmp_path):
    found = bins(simulate(np.random.default_rng(5), 50, 4, 1.0), 1.0)
    for name in ("one.svg", "two.svg"):
        draw(tmp_path / name, {"before": found, "after": found})
    text = (tmp_path / "one.svg").read_bytes()
    assert text == (tmp_path / "two.svg").read_bytes()
    assert b"<dc:date>" not in text
    assert b"share of them that are best" in text


# By N


@pytest.mark.slow
def test_each_n_has_its_own_temperature_and_a_rare_one_that_of_all():
    rng = np.random.default_rng(6)
    samples = together(simulate(rng, 1000, 2, 0.5), simulate(rng, 1000, 8, 2.0), simulate(rng, MIN_SAMPLES - 1, 3, 9.0))
    found = fit_by_n(samples)
    two, three, eight = found.by_n
    assert [(row.n, row.samples, row.own) for row in found.by_n] == [
        (2, 1000, True), (3, MIN_SAMPLES - 1, False), (8, 1000, True),
    ]  # fmt: skip
    assert two.fit.temperature == pytest.approx(0.5, rel=4 * two.fit.relative_error)
    assert eight.fit.temperature == pytest.approx(2.0, rel=4 * eight.fit.relative_error)
    assert three.fit == found.pooled.fit
    for row in (two, eight, found.pooled):
        assert row.after.nll < row.before.nll
        assert row.after.ece < row.before.ece


def test_no_request_is_measured_at_a_temperature_that_has_seen_it():
    """With one half from another truth, each half's temperature is the other's."""
    rng = np.random.default_rng(7)
    sharp, flat = simulate(rng, 300, 4, 0.5), simulate(rng, 300, 4, 3.0)
    mixed = together(sharp, flat).of(np.arange(600).reshape(2, 300).T.ravel())
    crossed_S = fit_by_n(mixed).crossed_S
    assert crossed_S[0::2] == pytest.approx(np.full(300, fit(flat).temperature))
    assert crossed_S[1::2] == pytest.approx(np.full(300, fit(sharp).temperature))


def test_too_few_requests_and_chance_are_refused_with_numbers():
    rng = np.random.default_rng(8)
    with pytest.raises(CalibrationError, match=f"{MIN_SAMPLES - 1} requests .* at least {MIN_SAMPLES}"):
        fit_by_n(simulate(rng, MIN_SAMPLES - 1, 4, 1.0))
    wrong = simulate(rng, 200, 4, 1.0)
    with pytest.raises(CalibrationError, match="200 requests cannot be told from chance"):
        fit_by_n(Samples(-wrong.scores_SN, wrong.shares_SN))


# In the manifest

QUALITY = m.Quality(nll=1.0, brier=0.5, ece=0.1)
FIT = m.ProbabilityFit(samples=9, data="", mode="joint", engine="onnxruntime", precision="float32",
                       before=QUALITY, after=QUALITY)  # fmt: skip


def fitted(by_n: dict[int, float]) -> m.Probabilities:
    entries = tuple(m.TemperatureOfN(N=n, temperature=t, samples=9) for n, t in by_n.items())
    return m.Probabilities(temperature=7.0, calibrated=True, by_n=entries, fit=FIT)


@pytest.mark.parametrize(
    ("n", "temperature"), [(1, 0.5), (2, 0.5), (4, math.sqrt(0.5 * 2)), (8, 2.0), (16, 2.0), (64, 2.0)]
)
def test_temperatures_lie_between_those_of_the_neighbours(n, temperature):
    """4 lies half-way between 2 and 8 in the logarithm."""
    assert temperature_for(fitted({2: 0.5, 8: 2.0}), n) == pytest.approx(temperature)


@pytest.mark.slow
@settings(deadline=None)
@given(n=st.integers(2, 64), factor=st.floats(0.01, 100))
def test_the_rule_between_is_in_the_unit_of_the_scores_and_between_its_neighbours(n, factor):
    table = {2: 1.7, 4: 1.0, 16: 2.0, 64: 3.0}
    found = temperature_for(fitted(table), n)
    scaled = temperature_for(fitted({k: t * factor for k, t in table.items()}), n)
    assert scaled == pytest.approx(found * factor)
    below, above = max(k for k in table if k <= n), min(k for k in table if k >= n)
    assert min(table[below], table[above]) - 1e-12 <= found <= max(table[below], table[above]) + 1e-12


def test_a_bundle_without_a_fit_reads_as_it_did_and_is_not_calibrated():
    text = b'{"temperature":1.0,"calibrated":false}'
    old = msgspec.json.decode(text, type=m.Probabilities)
    assert msgspec.json.encode(old) == text
    assert temperature_for(old, 5) == 1.0
    assert why_uncalibrated(old, ScoringConditions(5, "joint", 1, "float32")) == "no temperature was fitted"
    assert describe(old) == "softmax of scores / 1, not calibrated"


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (ScoringConditions(4, "joint", 1, "float32"), None),
        (ScoringConditions(1, "joint", 1, "float32"), None),
        (ScoringConditions(4, "isolated", 1, "float32"), "fitted in joint mode, read in isolated mode"),
        (ScoringConditions(4, "joint", 3, "float32"), "fitted on one order, read in 3"),
        (ScoringConditions(4, "joint", 1, "float16"), "fitted in float32, scored in float16"),
        (ScoringConditions(9, "joint", 1, "float32"), "fitted on N=2 to 8, here N=9"),
    ],
)
def test_only_what_the_fit_holds_for_is_called_calibrated(read, reason):
    assert why_uncalibrated(fitted({2: 0.5, 8: 2.0}), read) == reason
