"""Scores of Bradley-Terry and Plackett-Luce, against figures computed by hand and another implementation."""

from __future__ import annotations

import math
import random

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoj.evaluation import EvaluationError
from yoj.evaluation.rankings import Vote, _luce, count_votes
from yoj.evaluation.rankings._luce import fit, list_stages, pair_stages
from yoj.evaluation.rankings.comparisons import pair_wins


def scores(votes, stages=pair_stages, alpha=1e-6):
    counted = count_votes("q", votes)
    return fit(stages(counted.counts, counted.lists), alpha)[0]


def test_two_candidates_have_the_logarithm_of_the_odds():
    votes = [Vote(("a", "b"))] * 3 + [Vote(("b", "a"))]
    assert scores(votes) == pytest.approx([math.log(3) / 2, -math.log(3) / 2], abs=1e-5)


def test_a_tie_is_half_a_win():
    votes = [Vote(("a", "b"))] * 2 + [Vote(("a", "b"), tied=True)] * 2
    assert scores(votes) == pytest.approx([math.log(3) / 2, -math.log(3) / 2], abs=1e-5)


def test_rankings_of_three_by_hand():
    """The odds r of x against y, and against z, maximise r^4 / ((r + 2)^4 (r + 1)^2).

    First places are x twice of three, y and z once: (r / (r + 2))^2 (1 / (r + 2))^2. Second places of y and z have the
    odds 1, and those of x against one of them (r / (r + 1))^2. The derivative is 0 where r^2 - 2 r - 4 = 0.
    """
    found = scores([Vote(tuple(one)) for one in ("xyz", "xzy", "yxz", "zxy")], list_stages)
    assert found[1] == pytest.approx(found[2], abs=1e-9)
    assert math.exp(found[0] - found[1]) == pytest.approx(1 + math.sqrt(5), abs=1e-4)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 1.0])
def test_choix_finds_the_same_scores(alpha):
    source = random.Random(1)
    votes = [Vote(tuple(source.sample("abcdefg", source.choice([2, 3, 4])))) for _ in range(60)]
    counted = count_votes("q", votes)
    place = {name: index for index, name in enumerate(counted.candidates)}
    rankings = [[place[name] for name in vote.ranked] for vote in votes]
    expected = choix.ilsr_rankings(7, rankings, alpha=alpha, max_iter=1000)
    assert scores(votes, list_stages, alpha) == pytest.approx(expected, abs=1e-6)
    wins_NN = pair_wins(counted.counts, counted.lists)[0]
    expected = choix.ilsr_pairwise_dense(wins_NN, alpha=alpha, max_iter=1000)
    assert scores(votes, pair_stages, alpha) == pytest.approx(expected, abs=1e-6)


def test_who_never_lost_and_who_was_never_compared_have_scores():
    votes = [Vote(("a", "b"))] * 50 + [Vote(("c", "d"))]
    counted = count_votes("q", votes)
    expected = choix.ilsr_pairwise_dense(pair_wins(counted.counts, ())[0], alpha=0.05, max_iter=10_000)
    assert scores(votes, alpha=0.05) == pytest.approx(expected, abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(
    st.integers(2, 5).flatmap(
        lambda n: st.lists(
            st.permutations([f"m{k}" for k in range(n)]).flatmap(
                lambda order: st.integers(2, len(order)).map(lambda m: tuple(order[:m]))
            ),
            min_size=1,
            max_size=12,
        )
    ),
    st.sampled_from([1e-6, 0.05, 10.0]),
)
def test_it_converges_for_any_votes_and_several_sets_at_once(lists, alpha):
    counted = count_votes("q", [Vote(one) for one in lists])
    for stages in (pair_stages, list_stages):
        alone = fit(stages(counted.counts, counted.lists), alpha)
        assert np.isfinite(alone).all()
        assert alone.sum() == pytest.approx(0, abs=1e-6)
        warm = fit(stages(counted.counts, counted.lists), alpha, np.linspace(-3, 3, alone.shape[1]))
        assert warm == pytest.approx(alone, abs=1e-5)


def test_scores_that_do_not_converge_are_an_error_not_a_wrong_number(monkeypatch):
    monkeypatch.setattr(_luce, "MOST_STEPS", 2)
    with pytest.raises(EvaluationError, match=r"did not converge in 2 steps .* Give a larger alpha"):
        scores([Vote(("a", "b"))])
