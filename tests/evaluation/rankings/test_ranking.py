"""Rankings by all methods."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from yoj.evaluation import EvaluationError
from yoj.evaluation.rankings import METHODS, RankingSettings, Vote, count_votes, rank
from yoj.evaluation.rankings.ranking import ranks_of, tau_b

NAMES = "abcde"
PAIR = st.tuples(st.permutations(NAMES).map(lambda order: tuple(order[:2])), st.booleans())
LIST = st.tuples(st.permutations(NAMES).map(lambda order: tuple(order[:3])), st.just(False))
VOTES = st.lists(st.one_of(PAIR, LIST).map(lambda one: Vote(*one)), min_size=1, max_size=30)
PLAIN = RankingSettings(resamples=0)


def ranked(votes, settings=PLAIN):
    return rank(count_votes("q", votes), settings)


def test_three_candidates_by_hand():
    """a beats b 3 : 1, b beats c 2 : 0, c beats a 1 : 0, and a and c tie once."""
    votes = [Vote(("a", "b"))] * 3 + [Vote(("b", "a"))] + [Vote(("b", "c"))] * 2 + [Vote(("c", "a"))]
    found = ranked([*votes, Vote(("a", "c"), tied=True)])
    # Net wins: a > b 2, b > c 2, c > a 1. Surplus a 1, b 0, c -1: the arc c > a is removed, 1 of 5.
    assert found.graph.cyclic
    assert (found.graph.removed, found.graph.arcs) == (1, 3)
    assert found.graph.removed_weight == pytest.approx(0.2)
    assert {method: ranks_N.tolist() for method, ranks_N in found.ranks_N.items()} == {
        "bt": [1, 2, 3],
        "pl": [1, 2, 3],
        "ged": [1, 2, 3],
    }
    assert found.agreement == {("bt", "pl"): 1, ("bt", "ged"): 1, ("pl", "ged"): 1}
    assert found.component_N.tolist() == [0, 0, 0]


def test_a_full_circle_is_a_tie_where_scores_count_wins():
    found = ranked([Vote(one) for one in (("a", "b"), ("b", "c"), ("c", "a"))])
    assert found.ranks_N["bt"].tolist() == [1, 1, 1]
    assert found.graph.cyclic
    assert found.graph.removed_weight == pytest.approx(1 / 3)
    assert found.agreement[("bt", "pl")] is None


@settings(deadline=None, max_examples=30)
@given(st.permutations(NAMES), st.integers(1, 3), st.booleans())
def test_unanimous_votes_give_their_order_by_every_method(order, times, whole):
    given_votes = [tuple(order)] if whole else itertools.combinations(order, 2)
    found = ranked([Vote(one) for one in given_votes for _ in range(times)])
    for method in METHODS:
        names = [found.comparisons.candidates[index] for index in found.ranks_N[method].argsort()]
        assert names == list(order)
        assert sorted(found.ranks_N[method]) == [1, 2, 3, 4, 5]
    assert not found.graph.cyclic
    assert list(found.agreement.values()) == pytest.approx([1, 1, 1])


@settings(deadline=None, max_examples=30)
@given(VOTES)
def test_every_vote_twice_gives_the_same_graph(votes):
    once, twice = ranked(votes), ranked(votes * 2)
    assert once.ranks_N["ged"].tolist() == twice.ranks_N["ged"].tolist()
    assert once.graph.removed_weight == pytest.approx(twice.graph.removed_weight)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([0, 1, 2]), min_size=20, max_size=20))
def test_every_vote_twice_gives_the_same_ranks_where_all_pairs_have_as_many(outcomes):
    """Where they have not, the regularisation weighs less beside twice the votes."""
    pairs = list(itertools.combinations(NAMES, 2)) * 2
    votes = [Vote(pair if outcome else pair[::-1], outcome == 2) for pair, outcome in zip(pairs, outcomes, strict=True)]
    once, twice = ranked(votes), ranked(votes * 2)
    for method in METHODS:
        assert once.ranks_N[method].tolist() == twice.ranks_N[method].tolist()


@settings(deadline=None, max_examples=30)
@given(VOTES, st.permutations(NAMES), st.randoms(use_true_random=False))
def test_the_order_of_the_votes_and_the_names_change_no_score(votes, names, source):
    new = dict(zip(NAMES, names, strict=True))
    moved = [Vote(tuple(new[name] for name in vote.ranked), vote.tied) for vote in votes]
    source.shuffle(moved)
    one, other = ranked(votes), ranked(moved)
    place = [other.comparisons.candidates.index(new[name]) for name in one.comparisons.candidates]
    for method in ("bt", "pl"):
        assert other.scores_N[method][place] == pytest.approx(one.scores_N[method], abs=1e-7)
    if not one.graph.cyclic:  # of equal candidates the greedy order takes the first
        assert other.ranks_N["ged"][place].tolist() == one.ranks_N["ged"].tolist()


@settings(deadline=None, max_examples=30)
@given(VOTES)
def test_bt_and_pl_are_one_where_no_vote_is_on_three(votes):
    pairs = [vote for vote in votes if len(vote.ranked) == 2]
    if pairs:
        found = ranked(pairs)
        assert found.scores_N["bt"] == pytest.approx(found.scores_N["pl"], abs=1e-9)


def test_parts_without_a_vote_between_them():
    found = ranked([Vote(("a", "c")), Vote(("b", "d"), tied=True), Vote(("e", "b"))])
    assert found.component_N.tolist() == [0, 1, 0, 1, 1]


@pytest.mark.parametrize("method", ["bt", "pl"])
def test_intervals_hold_the_scores_and_shrink_with_more_votes(method):
    votes = [Vote(("a", "b"))] * 6 + [Vote(("b", "a"))] * 4 + [Vote(("a", "b", "c"))] * 5 + [Vote(("c", "a"))] * 2
    wanted = RankingSettings(method, resamples=300)
    few, many = ranked(votes * 4, wanted), ranked(votes * 100, wanted)
    for found in (few, many):
        assert found.intervals is not None
        scores_N, ranks_N = found.scores_N[method], found.ranks_N[method]
        assert (found.intervals.low_N < scores_N).all()
        assert (scores_N < found.intervals.high_N).all()
        assert (found.intervals.rank_low_N <= ranks_N).all()
        assert (ranks_N <= found.intervals.rank_high_N).all()
    width = [found.intervals.high_N - found.intervals.low_N for found in (few, many)]
    assert width[1] == pytest.approx(width[0] / 5, rel=0.35)
    assert many.intervals.rank_low_N.tolist() == many.intervals.rank_high_N.tolist()


def test_the_interval_of_one_pair_is_that_of_its_odds():
    """300 of 400 wins: log odds 1.099, standard error sqrt(1 / 300 + 1 / 100) = 0.115; scores are half of it."""
    votes = [Vote(("a", "b"))] * 300 + [Vote(("b", "a"))] * 100
    found = ranked(votes, RankingSettings(resamples=2000))
    assert found.intervals is not None
    assert found.intervals.low_N[0] == pytest.approx((1.0986 - 1.96 * 0.1155) / 2, abs=0.015)
    assert found.intervals.high_N[0] == pytest.approx((1.0986 + 1.96 * 0.1155) / 2, abs=0.015)


@pytest.mark.parametrize(
    ("votes", "reason"),
    [
        ([("a", "b")], "fewer votes than candidates"),
        ([("a", "b"), ("b", "a"), ("b", "c")] * 2 + [("c", "d", "e", "f", "g", "h")], "fewer votes than candidates"),
        ([("a", "b")] * 1000, "no vote contradicts another"),
        ([("a", "b"), ("b", "c"), ("a", "c")] * 20, "no vote contradicts another"),
        ([("a", "b", "c"), ("a", "c"), ("b", "c")], "no vote contradicts another"),
    ],
)
@pytest.mark.parametrize("method", ["bt", "pl"])
def test_votes_whose_resamples_agree_have_no_intervals(votes, reason, method):
    found = ranked([Vote(one) for one in votes], RankingSettings(method, resamples=20))
    assert (found.intervals, found.no_interval) == (None, reason)


def test_ties_alone_have_no_intervals():
    votes = [Vote(one, tied=True) for one in (("a", "b"), ("b", "c"))] * 20
    found = ranked(votes, RankingSettings(resamples=20))
    assert (found.intervals, found.no_interval) == (None, "a candidate has the same score in all resamples")


@pytest.mark.parametrize("last", [Vote(("b", "a")), Vote(("a", "b"), tied=True)])
def test_one_vote_against_the_others_is_enough_for_intervals(last):
    found = ranked([*[Vote(("a", "b"))] * 5, last], RankingSettings(resamples=50))
    assert found.no_interval is None
    assert (found.intervals.low_N < found.intervals.high_N).all()


def test_without_resamples_no_reason_is_given():
    assert ranked([Vote(("a", "b"))]).no_interval is None


def test_draws_depend_on_the_seed_and_the_item_alone():
    votes = [Vote(("a", "b"))] * 6 + [Vote(("b", "a"))] * 4
    ends = [
        rank(count_votes(item, votes), RankingSettings(resamples=50, seed=seed)).intervals.low_N.tolist()
        for item, seed in (("q", 0), ("q", 0), ("q", 1), ("p", 0))
    ]
    assert ends[0] == ends[1]
    assert ends[0] != ends[2]
    assert ends[0] != ends[3]


def test_ged_has_no_intervals():
    assert ranked([Vote(("a", "b"))], RankingSettings("ged")).intervals is None


def test_scores_that_differ_by_rounding_share_a_rank():
    assert ranks_of(np.array([[0.5, 0.5 + 1e-9, 2.0, -1.0]])).tolist() == [[2, 2, 1, 4]]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=2, max_size=8))
def test_tau_b_is_that_of_scipy(pairs):
    one_N, other_N = np.array(pairs).T
    expected = kendalltau(one_N, other_N).statistic
    found = tau_b(one_N, other_N)
    assert found is None if np.isnan(expected) else found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"method": "elo"}, "method is 'elo'; give one of bt, pl, ged"),
        ({"alpha": 0.0}, "alpha is 0; give a number from 1e-06"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"resamples": -1}, "resamples is -1; give 2 or more, or 0"),
        ({"resamples": 1}, "resamples is 1; give 2 or more, or 0"),
    ],
)
def test_wrong_settings_are_refused(values, told):
    with pytest.raises(EvaluationError, match=told):
        RankingSettings(**values)
