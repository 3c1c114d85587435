"""Counting of votes."""

from __future__ import annotations

import numpy as np
import pytest

from yoj.evaluation import EvaluationError
from yoj.evaluation.rankings import Vote, count_votes
from yoj.evaluation.rankings.comparisons import pair_wins, redraw

VOTES = [
    Vote(("b", "a"), annotator="w1"),
    Vote(("b", "a"), annotator="w2"),
    Vote(("a", "b")),
    Vote(("c", "a"), tied=True, annotator="w1"),
    Vote(("c", "b", "a"), annotator="w1"),
    Vote(("c", "b", "a"), annotator="w3"),
]


def test_votes_are_counted():
    counted = count_votes("q", VOTES)
    assert counted.candidates == ("a", "b", "c")
    assert (counted.votes, counted.ties, counted.listed) == (6, 1, 2)
    assert (len(counted.annotators), counted.unnamed) == (3, 1)
    assert counted.lists == ((2, 1, 0),)
    assert counted.counts.wins_RNN.tolist() == [[[0, 1, 0], [2, 0, 0], [0, 0, 0]]]
    assert counted.counts.ties_RNN.tolist() == [[[0, 0, 1], [0, 0, 0], [0, 0, 0]]]
    assert counted.counts.lists_RB.tolist() == [[2]]


def test_a_tie_is_half_a_win_for_both_and_a_list_a_vote_on_each_pair():
    counted = count_votes("q", VOTES)
    # b over a: 2 votes and 2 lists; c over a: half a tie and 2 lists; c over b: 2 lists.
    assert pair_wins(counted.counts, counted.lists).tolist() == [[[0, 1, 0.5], [4, 0, 0], [2.5, 2, 0]]]


def test_the_order_of_the_votes_makes_no_difference():
    one, other = count_votes("q", VOTES), count_votes("q", VOTES[::-1])
    assert one.lists == other.lists
    for name in ("wins_RNN", "ties_RNN", "lists_RB"):
        assert getattr(one.counts, name).tolist() == getattr(other.counts, name).tolist()


def test_resamples_have_as_many_votes_of_those_that_are_there():
    counted = count_votes("q", VOTES)
    drawn = redraw(counted, 400, np.random.default_rng(0))
    parts = [drawn.wins_RNN, drawn.ties_RNN, drawn.lists_RB]
    totals_R = sum(part.reshape(400, -1).sum(axis=1) for part in parts)
    assert set(totals_R.tolist()) == {6}
    for part, given in zip(parts, (counted.counts.wins_RNN, counted.counts.ties_RNN, counted.counts.lists_RB)):  # noqa: B905
        assert part[:, given[0] == 0].sum() == 0
        assert part.mean(axis=0) == pytest.approx(given[0], abs=0.3)


@pytest.mark.parametrize(
    ("ranked", "tied", "told"),
    [
        (("a", "a"), False, "'a' is compared with itself"),
        (("a", "b", "a"), False, "'a' is compared with itself"),
        (("a",), False, "two candidates or more"),
        (("a", "b", "c"), True, "Only votes on two can be ties"),
    ],
)
def test_votes_that_are_none_are_refused(ranked, tied, told):
    with pytest.raises(EvaluationError, match=told):
        Vote(ranked, tied)
