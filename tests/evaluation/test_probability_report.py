"""Quality of probabilities by N, computed by hand."""

from __future__ import annotations

import math

import pytest

from yoj.evaluation._predictions import PassLine, Prediction
from yoj.evaluation._probability_report import probability_figures


def prediction(scores, ranks, temperature=1.0, calibrated=False):
    passes = (PassLine(tuple(range(len(ranks))), tuple(scores)),) if scores else ()
    about = {"key": "k", "id": "k", "group": "k", "category": "c", "notices": (), "milliseconds": 1.0, "native": {}} | {
        "frames": None
    }
    error = None if scores else "it failed"
    return Prediction(
        **about, ranks=tuple(ranks), passes=passes, error=error, temperature=temperature, calibrated=calibrated
    )


def test_figures_of_one_n():
    ln3 = math.log(3)
    found = probability_figures(
        [prediction([2 * ln3, 0.0], [1, 2], 2.0, True), prediction([2 * ln3, 0.0], [2, 1], 2.0, True)]
    )
    (one,) = found  # P is 3/4 and 1/4 in both; the first is right
    assert (one.n, one.items, one.temperatures, one.calibrated) == (2, 2, (2.0,), True)
    assert one.nll == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2)
    assert one.brier == pytest.approx((2 * (1 / 4) ** 2 + 2 * (3 / 4) ** 2) / 2)
    assert one.ece == pytest.approx((1 / 4 + 3 / 4) / 2)  # two bins of one item each
    assert [b.items for b in one.bins] == [1, 1]


def test_ties_for_the_best_share():
    (one,) = probability_figures([prediction([0.0, 0.0, 0.0, 0.0], [1, 1, 3, 3])])
    assert one.nll == pytest.approx(math.log(4))
    assert one.brier == pytest.approx(2 * (1 / 4) ** 2 + 2 * (1 / 4) ** 2)
    assert one.ece == pytest.approx(1 / 2 - 1 / 4)  # any of four equal ones is chosen, half of which are best


def test_bins_hold_equally_many_items_and_each_n_is_for_itself():
    many = [prediction([k / 10, 0.0], [1, 2]) for k in range(46)]
    found = probability_figures([*many, prediction([1.0, 2.0, 3.0], [3, 2, 1]), prediction((), [1, 2])])
    assert [(one.n, one.items) for one in found] == [(2, 46), (3, 1)]
    assert [b.items for b in found[0].bins] == [4] + [3] * 14
    assert found[0].bins[0].confidence < found[0].bins[-1].confidence
