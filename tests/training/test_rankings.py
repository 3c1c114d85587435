"""Rankings by dimension: which are ranks, and which teach something."""

from __future__ import annotations

import itertools

import pytest

from yoj.training._feed import _shorten
from yoj.training._rankings import Needs, best_of, informs, ranks_by_dimension, unlearnable, wrong_rankings

BOTH = ("instruction", "quality")


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [([1, 2], True), ([1, 1], False), ([None, None], False), ([1, None], False), ([1, None, 2], True), ([], False)],
)
def test_two_different_ranks_inform(ranks, expected):
    assert informs(ranks) == expected


def test_only_the_chosen_responses_count():
    assert not informs([1, None, 2], [0, 1])
    assert informs([1, None, 2], [2, 0])


def test_the_best_share_a_rank_and_the_unjudged_have_none():
    assert best_of([None, 1, 2, 1]) == [1, 3]


def test_a_dimension_that_is_left_out_judges_nothing():
    assert ranks_by_dimension({"quality": [1, 2]}, BOTH, 2) == [[None, None], [1, 2]]
    assert ranks_by_dimension(None, BOTH, 2) == [[None, None]] * 2


@pytest.mark.parametrize("ranks", [[1, 2, 3], [1, 1, 1], [2, 1, None], [None, None, None], [1, None, None], [1, 1, 2]])
def test_these_are_ranks_in_a_dimension(ranks):
    assert wrong_rankings({"quality": ranks}, 3) is None


@pytest.mark.parametrize(
    ("ranks", "kind", "text"),
    [
        ([1, 2], "lengths", "dimension_rankings.quality has 2 ranks for 3 responses"),
        ([2, None, 3], "no ranks", "dimension_rankings.quality, without nulls: rankings are [2, 3]"),
        ([0, 1, None], "no ranks", "the smallest is 0"),
        ([7.5, 3.0, 9.0], "no ranks", "these are no ranks"),
    ],
)
def test_these_are_none(ranks, kind, text):
    found = wrong_rankings({"instruction": [1, 2, 3], "quality": ranks}, 3)
    assert found is not None
    assert found[0] == kind
    assert text in found[1]


@pytest.mark.parametrize(
    ("overall", "rankings", "needs", "kind"),
    [
        ([1, 2], None, Needs(), None),
        (None, None, Needs(), "no rankings"),
        ([1, 1], None, Needs(), "all tied"),
        (None, {"quality": [1, 2]}, Needs(), "no rankings"),
        (None, {"quality": [1, 2]}, Needs(dimensions=BOTH), None),
        (None, {"quality": [1, 2], "instruction": [1, 1]}, Needs(dimensions=BOTH), None),
        ([1, 1], {"quality": [1, 2]}, Needs(dimensions=BOTH), None),
        ([1, 2], None, Needs(dimensions=BOTH), "no rankings"),
        ([1, 2], {"quality": [1, 1], "instruction": [None, 1]}, Needs(dimensions=BOTH), "all tied"),
        ([1, 2], {"quality": [None, None]}, Needs(dimensions=BOTH), "all tied"),
        ([1, 2], {"quality": [1, 2], "style": [1, 2]}, Needs(dimensions=BOTH), "unknown dimension"),
        ([1, 2], {"quality": [1, 1]}, Needs(dimensions=BOTH, evaluated=True), None),
        (None, {"quality": [1, 2]}, Needs(evaluated=True), None),
        (None, {"quality": [1, 1]}, Needs(evaluated=True), "no rankings"),
    ],
)
def test_what_a_sample_lacks(overall, rankings, needs, kind):
    found = unlearnable(overall, rankings, needs)
    assert (found and found[0]) == kind
    if kind == "unknown dimension":
        assert found == (kind, "dimension_rankings names style; the dimensions of the head are instruction, quality")


@pytest.mark.parametrize("most", [2, 3])
def test_responses_that_are_shown_together_are_ranked_apart_in_a_dimension(most):
    rankings = [[1, 1, 1, None], [None, None, 2, 1]]
    for order in itertools.permutations(range(4)):
        kept = _shorten(order, rankings, most)
        assert len(kept) == most
        assert kept == [i for i in order if i in kept]
        assert informs(rankings[1], kept)


def test_the_first_responses_stay_where_they_teach_something():
    assert _shorten([3, 0, 2, 1], [[1, 1, 2, 3]], 2) == [3, 0]
    assert _shorten([0, 1, 3, 2], [[1, 1, 2, 3]], 2) == [0, 3]
