"""Order sensitivity, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_benchmark import scored

from yoj.evaluation._order_report import order_figures

HALF = [
    # Right in both orders.
    scored([1, 2], ((0, 1), (2.0, 1.0)), ((1, 0), (3.0, 1.0)), key="a"),
    # The first place wins in both: the second order is wrong.
    scored([1, 2], ((0, 1), (2.0, 1.0)), ((1, 0), (1.0, 2.5)), key="b"),
    # A tie in the first order; averaged, the best leads.
    scored([1, 2], ((1, 0), (1.0, 1.0)), ((0, 1), (2.0, 1.0)), key="c"),
    scored([1, 2], key="d"),
]


def test_figures_of_pairs():
    found = order_figures(HALF, "wrong")
    assert (found.items, found.passes, found.several) == (4, {0: 1, 2: 3}, 3)
    assert found.first_right == 2 / 4
    assert found.every_right == 1 / 4
    assert found.averaged_right == 2 / 4  # item b: (0.5 - 0.75) / 2 for the best, which is less than the other
    assert found.flips == pytest.approx(2 / 3)
    assert (found.tau, found.tau_items) == (0.0, 2)  # 1 and -1; item c has an order of equal scores
    (slots,) = found.by_n
    assert (slots.n, slots.best_count) == (2, (3, 3))
    assert slots.best_right == (1.0, 1 / 3)
    assert (slots.chosen_count, slots.tied) == ((2, 0), 1)
    assert (slots.chi_square, slots.p) == (None, None)


def test_a_rule_for_ties_reaches_every_figure():
    found = order_figures(HALF, "share")
    assert found.first_right == 2.5 / 4
    assert found.every_right == 1 / 4
    assert order_figures(HALF, "right").every_right == 2 / 4


def test_chi_square_is_of_the_first_orders_alone():
    items = [
        scored([1, 2, 3], (order, [3.0 - order.index(k) for k in range(3)]), (order[::-1], (1.0, 2.0, 3.0)), key=str(k))
        for k, order in enumerate([(0, 1, 2), (1, 2, 0), (2, 0, 1)] * 5)
    ]
    (slots,) = order_figures(items, "wrong").by_n
    assert slots.chosen_count == (15, 0, 0)
    assert slots.chi_square == pytest.approx(30)  # (15 - 5)^2 / 5 + 5 + 5
    assert slots.p == pytest.approx(np.exp(-15))  # of chi-square with 2 degrees of freedom


def test_items_of_several_best_have_no_place_of_the_best():
    (slots,) = order_figures([scored([1, 1, 2], ((0, 1, 2), (1.0, 2.0, 0.0)))], "wrong").by_n
    assert (slots.best_count, slots.best_right) == ((0, 0, 0), (None, None, None))
    assert slots.chosen_count == (0, 1, 0)
    found = order_figures([scored([1], ((0,), (1.0,)))], "wrong")
    assert (found.by_n, found.flips, found.tau, found.first_right) == ((), None, None, 1.0)
