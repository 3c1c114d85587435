"""Orders in which items are read: any first one, each with its reverse, and no fixed place of the best."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_benchmark import scored

from yoj.evaluation._passes import HowRead, draw_passes, in_order


@given(st.integers(1, 9), st.integers(1, 20), st.text(max_size=5), st.integers(0, 99))
def test_orders_are_different_permutations_and_pair_up(n, count, key, seed):
    orders = draw_passes(n, count, key, seed)
    assert len({*orders}) == len(orders) == min(count, {1: 1, 2: 2}.get(n, 2 * n))
    assert all(sorted(order) == list(range(n)) for order in orders)
    for first, second in zip(orders[::2], orders[1::2], strict=False):
        assert second == first[::-1]
    if len(orders) % 2 == 0:  # each response has the same mean place
        places_KN = np.array([np.argsort(order) for order in orders])
        np.testing.assert_allclose(places_KN.mean(axis=0), (n - 1) / 2)


FIRST = (2, 0, 1, 3)


def test_a_seed_and_a_key_give_the_same_orders_on_every_machine():
    assert draw_passes(4, 3, "item 7", 0) == (FIRST, FIRST[::-1], (*FIRST[1:], FIRST[0]))
    assert draw_passes(4, 3, "item 7", 1) != draw_passes(4, 3, "item 7", 0) != draw_passes(4, 3, "item 8", 0)


def test_the_response_that_the_file_puts_first_stands_in_every_place():
    places = np.bincount([draw_passes(4, 1, f"item {k}", 0)[0].index(0) for k in range(2000)])
    assert places.tolist() == pytest.approx([500] * 4, abs=70)  # 3.6 standard deviations


def test_a_request_has_its_responses_in_the_order_and_one_reading():
    item = scored([1, 2, 3], responses=["a", "b", "c"]).item
    request = in_order(item, (2, 0, 1), HowRead("isolated"))
    assert (list(request.responses), request.mode, request.orders) == (["c", "a", "b"], "isolated", 1)
    assert list(item.request.responses) == ["a", "b", "c"]
