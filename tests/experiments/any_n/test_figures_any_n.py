"""Means and shares with their intervals."""

from __future__ import annotations

import pytest

from experiments.any_n.figures import figure, mean, share


def test_a_mean_has_an_interval_over_items():
    found = mean([0.0, 1.0] * 50)
    assert (found["value"], found["count"]) == (0.5, 100)
    # 1.96 * sqrt(0.25 / 100)
    assert found["low"] == pytest.approx(0.402, abs=0.015)
    assert found["high"] == pytest.approx(0.598, abs=0.015)
    assert found == mean([0.0, 1.0] * 50)
    assert mean([1, 1, 1]) == {"value": 1, "low": 1, "high": 1, "count": 3}


def test_a_share_is_of_the_parts_that_items_have():
    found = share([2, 0, 1], [4, 0, 1])
    assert (found["value"], found["count"]) == (0.6, 5)
    assert found["low"] >= 0.5
    assert found["high"] == 1
    assert share([0, 0], [0, 0]) is None


def test_what_is_no_figure_is_refused():
    with pytest.raises(ValueError, match="0 items"):
        mean([])
    with pytest.raises(ValueError, match="2 items is nan"):
        mean([0.5, float("nan")])
    with pytest.raises(ValueError, match="inf"):
        figure(lambda own: float("inf"), 3)
