"""Calibration error by hand, and temperatures of the other half."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.any_n.calibration import cross_fitted, first_error
from yoj.calibration.temperature import fit, samples_of


def two_answers(sure: list[float], right: list[bool]):
    """Samples of two responses, the first of which has a probability at temperature 1."""
    scores = [[float(np.log(p / (1 - p))), 0.0] for p in sure]
    return samples_of(scores, [[1, 2] if own else [2, 1] for own in right])


def test_the_error_of_the_first_answer_is_by_bins_of_equally_many():
    # 15 bins of two: P 0.6 of which none is right, twice 0.9 of which both are, and 13 bins of 0.75 with one of two.
    sure = [0.6, 0.6, 0.9, 0.9] + [0.75, 0.75] * 13
    right = [False, False, True, True] + [True, False] * 13
    expected = (2 * 0.6 + 2 * 0.1 + 26 * 0.25) / 30
    assert first_error(two_answers(sure, right), np.ones(30)) == pytest.approx(expected)


def test_fewer_items_than_bins_are_a_bin_each():
    assert first_error(two_answers([0.6, 0.9], [True, True]), np.ones(2)) == pytest.approx((0.4 + 0.1) / 2)


def test_a_half_is_judged_at_the_temperature_of_the_other():
    source = np.random.default_rng(1)
    samples = two_answers(source.uniform(0.55, 0.95, 40).tolist(), (source.random(40) < 0.7).tolist())
    found_S = cross_fitted(samples)
    values, counts = np.unique(found_S, return_counts=True)
    assert counts.tolist() == [20, 20]
    for value, other in (values, values[::-1]):
        assert fit(samples.of(found_S == other)).temperature == pytest.approx(value)
