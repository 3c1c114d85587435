"""Preference graphs, on graphs made by hand and against the least removal of all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from yoj.evaluation.rankings._graph import components, denoise, feedback_order, net_arcs, reachable

WINS = st.integers(1, 7).flatmap(lambda n: arrays.arrays(np.float64, (n, n), elements=st.integers(0, 4).map(float)))


def least_removed(arcs_NN: np.ndarray) -> float:
    """Least weight whose removal leaves no cycle: dynamic programming over the sets of candidates that stand first."""
    n = len(arcs_NN)
    least = {0: 0.0}
    for members in range(1, 2**n):
        inside = [k for k in range(n) if members >> k & 1]
        # The last of the members has arcs back to the others.
        least[members] = min(least[members & ~(1 << k)] + arcs_NN[k, inside].sum() for k in inside)
    return least[2**n - 1]


def test_net_wins():
    wins_NN = np.array([[0, 3, 1], [1, 0, 2], [1, 0, 0.5]])
    assert net_arcs(wins_NN).tolist() == [[0, 2, 0], [0, 0, 2], [0, 0, 0]]


def test_a_chain_is_kept():
    arcs_NN = np.zeros((4, 4))
    arcs_NN[2, 0] = arcs_NN[0, 3] = arcs_NN[3, 1] = 1  # 2 > 0 > 3 > 1
    found = denoise(arcs_NN)
    assert not found.cyclic
    assert (found.arcs, found.removed, found.removed_weight) == (3, 0, 0)
    assert found.below_N.tolist() == [2, 0, 3, 1]


def test_the_weak_arc_of_a_cycle_is_removed():
    """0 > 1 (5), 1 > 2 (4), 2 > 0 (1): surplus 4, -1, -3, so that 0 is taken first and the arc 2 > 0 points back."""
    arcs_NN = np.array([[0, 5, 0], [0, 0, 4], [1, 0, 0]], np.float64)
    found = denoise(arcs_NN)
    assert feedback_order(arcs_NN).tolist() == [0, 1, 2]
    assert found.cyclic
    assert (found.arcs, found.removed) == (3, 1)
    assert found.removed_weight == pytest.approx(0.1)
    assert found.below_N.tolist() == [2, 1, 0]


def test_several_cycles_through_the_same_arc():
    """0 > 1 (3), 1 > 2 (2), 2 > 0 (2), 0 > 3 (3), 3 > 2 (2), 2 > 4 (9), 4 > 0 (3).

    Surplus: 0 has 6 - 5 = 1, 1 has -1, 2 has 11 - 4 = 7, 3 has -1, 4 has -6. 2 is taken first; then 1 and 3 are sinks,
    in this order before the end, and 4 and 0 form a chain. Order 2 4 0 3 1; backwards are 1 > 2 and 3 > 2, weight 4 of
    24. Removing 2 > 0 and 4 > 0 instead would cost 5.
    """
    arcs_NN = np.zeros((5, 5))
    for better, worse, weight in ((0, 1, 3), (1, 2, 2), (2, 0, 2), (0, 3, 3), (3, 2, 2), (2, 4, 9), (4, 0, 3)):
        arcs_NN[better, worse] = weight
    found = denoise(arcs_NN)
    assert feedback_order(arcs_NN).tolist() == [2, 4, 0, 3, 1]
    assert found.removed == 2
    assert found.removed_weight == pytest.approx(4 / 24)
    assert found.below_N.tolist() == [2, 0, 4, 0, 3]
    assert least_removed(arcs_NN) == 4


def test_one_arc_that_closes_two_cycles_is_removed():
    """0 > 1, 1 > 2, 2 > 0, 3 > 0, 1 > 3: removing 0 > 1 alone is enough.

    Surplus: 0 has -1, 1 has 1, 2 has 0, 3 has 0. 1 is taken; 0 is then a sink, then 2, and 3: order 1 3 2 0.
    """
    arcs_NN = np.zeros((4, 4))
    for better, worse in ((0, 1), (1, 2), (2, 0), (3, 0), (1, 3)):
        arcs_NN[better, worse] = 1
    assert feedback_order(arcs_NN).tolist() == [1, 3, 2, 0]
    assert denoise(arcs_NN).removed == 1


def test_no_arc_at_all_ties_everything():
    found = denoise(np.zeros((3, 3)))
    assert not found.cyclic
    assert (found.arcs, found.removed, found.removed_weight) == (0, 0, 0)
    assert found.below_N.tolist() == [0, 0, 0]


@settings(deadline=None)
@given(WINS)
def test_what_remains_has_no_cycle_and_the_removal_is_at_least_the_least(wins_NN):
    arcs_NN = net_arcs(wins_NN)
    found = denoise(arcs_NN)
    assert not reachable(found.arcs_NN > 0).diagonal().any()
    assert ((found.arcs_NN == arcs_NN) | (found.arcs_NN == 0)).all()
    removed = found.removed_weight * arcs_NN.sum()
    least = least_removed(arcs_NN)
    assert removed >= least - 1e-9
    # What Eades, Lin and Smyth prove: at least half of the weight remains.
    assert removed <= arcs_NN.sum() / 2 + 1e-9
    assert found.cyclic == (least > 0)
    assert found.cyclic or found.removed == 0


def test_dense_graphs_of_twelve_lose_more_than_the_least_weight_but_not_twice():
    source = np.random.default_rng(0)
    ratios = []
    for _ in range(3):
        arcs_NN = net_arcs(source.poisson(2, (12, 12)).astype(np.float64))
        ratios.append(denoise(arcs_NN).removed_weight * arcs_NN.sum() / least_removed(arcs_NN))
    assert 1 <= min(ratios) <= max(ratios) < 2


@settings(deadline=None)
@given(st.integers(2, 6), st.data())
def test_without_cycles_other_names_give_the_same_descendants(n, data):
    place_N = data.draw(st.permutations(range(n)))
    weights_NN = np.triu(data.draw(arrays.arrays(np.float64, (n, n), elements=st.integers(0, 2).map(float))), 1)
    moved_NN = weights_NN[np.ix_(place_N, place_N)]
    assert denoise(moved_NN).below_N.tolist() == denoise(weights_NN).below_N[place_N].tolist()
    assert denoise(moved_NN).removed == 0


@settings(deadline=None)
@given(st.lists(arrays.arrays(np.float64, (4, 4), elements=st.integers(0, 3).map(float)), min_size=1, max_size=4))
def test_the_sum_of_the_annotators_graphs_is_the_graph_of_all_votes(wins):
    """The ensemble as published: an arc for net wins of each annotator, weights added, opposite arcs cancelled."""
    added_NN = sum(net_arcs(wins_NN) for wins_NN in wins)
    cancelled_NN = np.zeros((4, 4))
    for one, other in itertools.permutations(range(4), 2):
        cancelled_NN[one, other] = max(0, added_NN[one, other] - added_NN[other, one])
    assert net_arcs(sum(wins)).tolist() == cancelled_NN.tolist()


def test_components_are_numbered_by_their_first_candidate():
    met_NN = np.zeros((5, 5), bool)
    met_NN[4, 1] = met_NN[2, 0] = True
    assert components(met_NN).tolist() == [0, 1, 0, 2, 1]
