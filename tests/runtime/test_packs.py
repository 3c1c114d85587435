"""Packs connect all responses, and their scores are joined as least squares does it."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoj.runtime.orders import average, draw_orders
from yoj.runtime.packs import draw_order, draw_packs, is_connected, join


@st.composite
def designs(draw):
    """Number of responses above the size of a pack, that size, and a number of rounds."""
    size = draw(st.integers(2, 6))
    return draw(st.integers(size + 1, 24)), size, draw(st.integers(2, 6))


def merged(n: int, packs) -> int:
    """Number of sets that are left when the members of each pack are joined, by hand."""
    sets = [{k} for k in range(n)]
    for pack in packs:
        touched = [one for one in sets if one & {*pack}]
        sets = [one for one in sets if not one & {*pack}] + [set().union(*touched)]
    return len(sets)


@settings(deadline=None)
@given(designs(), st.integers(0, 2**32))
def test_packs_are_rounds_of_partitions_that_connect_all(design, seed):
    n, size, rounds = design
    packs = draw_packs(n, size, rounds, random.Random(seed))
    assert merged(n, packs) == 1
    assert all(2 <= len(pack) <= size and len(set(pack)) == len(pack) for pack in packs)
    read = [sum(k in pack for pack in packs) for k in range(n)]
    assert max(read) <= rounds
    per_round = len(packs) // rounds
    for begin in range(0, len(packs), per_round):
        members = [*itertools.chain.from_iterable(packs[begin : begin + per_round])]
        assert len(members) == len(set(members))
        assert len(members) >= n - 1  # at most one is left alone, where pairs are drawn of an odd number


@settings(deadline=None)
@given(designs(), st.integers(0, 2**32))
def test_scores_that_differ_between_packs_by_an_offset_alone_are_found_again(design, seed):
    n, size, rounds = design
    packs = draw_packs(n, size, rounds, random.Random(seed))
    numbers = np.random.default_rng(seed)
    true_N, offsets_P = numbers.normal(0, 3, n), numbers.normal(0, 10, len(packs))
    joined = join(n, packs, [true_N[list(pack)] + offset for pack, offset in zip(packs, offsets_P, strict=True)])
    np.testing.assert_allclose(joined.scores_N, true_N - true_N.mean(), atol=1e-9)
    np.testing.assert_allclose(joined.offsets_P, offsets_P + true_N.mean(), atol=1e-9)
    np.testing.assert_allclose(joined.spread_N, 0, atol=1e-9)


@settings(deadline=None)
@given(designs(), st.integers(0, 2**32))
def test_no_other_scores_leave_less(design, seed):
    """The gradient of the sum of squares is 0: what remains of each response, and of each pack, has the sum 0."""
    n, size, rounds = design
    packs = draw_packs(n, size, rounds, random.Random(seed))
    numbers = np.random.default_rng(seed)
    scores = [numbers.normal(0, 3, len(pack)) for pack in packs]
    joined = join(n, packs, scores)
    rest_N = np.zeros(n)
    for pack, values, offset in zip(packs, scores, joined.offsets_P, strict=True):
        rest = values - joined.scores_N[list(pack)] - offset
        assert abs(rest.sum()) < 1e-9
        np.add.at(rest_N, list(pack), rest)
    np.testing.assert_allclose(rest_N, 0, atol=1e-9)
    assert abs(joined.scores_N.mean()) < 1e-9


@pytest.mark.parametrize("orders", [1, 2, 3, 5])
def test_packs_of_all_responses_are_joined_as_orders_are_averaged(orders):
    plan = draw_orders(5, orders)
    scores_KN = np.random.default_rng(0).normal(0, 3, (orders, 5)).astype(np.float32)
    joined = join(5, plan, scores_KN.tolist())
    averaged = average(scores_KN, plan)
    expected_N = averaged.scores_N - averaged.scores_N.mean()
    np.testing.assert_allclose(joined.scores_N, expected_N, atol=1e-6)
    if averaged.spread_N is not None:
        np.testing.assert_allclose(joined.spread_N, averaged.spread_N, atol=1e-6)


def test_a_score_too_few_is_refused():
    with pytest.raises(ValueError, match=r"The pack \(1, 0\) has 1 scores"):
        join(2, [(0, 1), (1, 0)], [[1.0, 2.0], [1.0]])


def test_packs_that_do_not_connect_are_refused():
    assert not is_connected(4, [(0, 1), (2, 3)])
    with pytest.raises(ValueError, match=r"\[\(0, 1\), \(2, 3\)\] do not connect 4 responses"):
        join(4, [(0, 1), (2, 3)], [[1.0, 2.0], [1.0, 2.0]])


@pytest.mark.parametrize(("n", "size", "rounds"), [(4, 4, 2), (4, 1, 2), (4, 2, 1)])
def test_a_design_that_cannot_connect_is_refused(n, size, rounds):
    with pytest.raises(ValueError, match=f"n is {n}, size {size}, rounds {rounds}; give n above size"):
        draw_packs(n, size, rounds, random.Random(0))


def test_an_order_is_the_same_in_every_version():
    """Recorded with Python 3.11; hosts with others must read a group in the same order."""
    assert draw_order(8, random.Random(7)) == (6, 3, 1, 0, 5, 7, 4, 2)
