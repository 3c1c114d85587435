"""Bootstrap over groups: what is drawn together, and intervals of figures known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_benchmark import measure, scored

from yoj.evaluation._bootstrap import RESAMPLES, Interval, ItemGroups, bootstrap, intervals, mean, resamples


def items(rights: list[bool], of_group: int = 1) -> list:
    orders = ((0, 1), (2.0, 1.0)), ((0, 1), (1.0, 2.0))
    return [
        scored([1, 2], orders[not right], key=f"k{place}", group=f"g{place // of_group}")
        for place, right in enumerate(rights)
    ]


def test_a_group_that_is_drawn_twice_counts_as_two():
    groups = ItemGroups(items([True, True, False, True], of_group=2))
    assert groups.names == ("g0", "g1")
    taken = groups.take(np.array([3, 1]))
    assert len({one.item.key for one in taken}) == len(taken) == 8
    assert len({one.item.group for one in taken}) == 4
    assert measure(taken, "wrong").counts == {"accuracy": 8, "category/c": 8, "groups": 4}
    assert measure(taken, "wrong").values["groups"] == 3 / 4


def test_the_interval_of_a_share_is_that_of_the_binomial():
    found = bootstrap(items([True] * 60 + [False] * 40), lambda drawn: measure(drawn, "wrong").values, 0)["accuracy"]
    # 0.6 +- 1.96 * sqrt(0.6 * 0.4 / 100)
    assert (found.low, found.high) == (pytest.approx(0.504, abs=0.02), pytest.approx(0.696, abs=0.02))


def test_items_of_a_group_are_drawn_together():
    """As 25 groups of 4 equal ones are 25 items, the interval is twice as wide."""
    rights = [place // 4 % 5 < 3 for place in range(100)]
    alone = bootstrap(items(rights), lambda drawn: measure(drawn, "wrong").values, 0)["accuracy"]
    together = bootstrap(items(rights, of_group=4), lambda drawn: measure(drawn, "wrong").values, 0)["accuracy"]
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(2, abs=0.3)


def test_draws_are_of_the_seed():
    first, again, other = ([counts_G.tolist() for counts_G in resamples(7, seed)] for seed in (1, 1, 2))
    assert len(first) == RESAMPLES
    assert all(sum(counts) == 7 for counts in first)
    assert first == again != other


def test_one_group_has_no_interval():
    assert bootstrap(items([True, False], of_group=2), lambda drawn: measure(drawn, "wrong").values, 0) == {}


def test_figures_that_a_resample_lacks_are_taken_over_the_others():
    found = intervals([{"a": 0.0, "b": float("nan")}, {"a": 1.0}, {"a": 0.5, "b": 3.0}])
    assert found == {"a": Interval(pytest.approx(0.025), pytest.approx(0.975)), "b": Interval(3.0, 3.0)}
    assert (mean([]), mean([1.0, 2.0])) == (None, 1.5)
