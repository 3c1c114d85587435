"""Agreement of scores with rankings, against SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from yoj.evaluation.benchmarks._orderings import agreements
from yoj.evaluation.benchmarks._pairs import TIED_PAIR
from yoj.runtime.agreement import pairs

ITEMS = st.integers(2, 6).flatmap(
    lambda n: st.lists(
        st.tuples(
            st.lists(st.integers(0, 4), min_size=n, max_size=n),
            st.lists(st.integers(1, n), min_size=n, max_size=n).filter(lambda ranks: len({*ranks}) > 1),
        ),
        min_size=1,
        max_size=4,
    )
)


def arrays(items):
    scores, ranks = zip(*items, strict=True)
    return np.array(scores, np.float64), np.array(ranks, np.float64)


@settings(deadline=None)
@given(ITEMS)
def test_correlations_are_those_of_scipy(items):
    scores_BN, ranks_BN = arrays(items)
    found = agreements(scores_BN, ranks_BN, "wrong")
    for k, (scores, ranks) in enumerate(items):
        if len({*scores}) == 1:
            assert found["Kendall tau-b"][k] == found["Spearman"][k] == 0
            continue
        worth = [-rank for rank in ranks]
        assert found["Kendall tau-b"][k] == pytest.approx(stats.kendalltau(scores, worth, variant="b").statistic)
        assert found["Spearman"][k] == pytest.approx(stats.spearmanr(scores, worth).statistic)


@settings(deadline=None)
@given(ITEMS)
def test_ties_lie_between_wrong_and_right(items):
    scores_BN, ranks_BN = arrays(items)
    right_B, all_B = pairs(scores_BN, ranks_BN, TIED_PAIR["right"])
    wrong_B, _ = pairs(scores_BN, ranks_BN, TIED_PAIR["wrong"])
    share_B, _ = pairs(scores_BN, ranks_BN, TIED_PAIR["share"])
    assert (2 * share_B == right_B + wrong_B).all()
    assert (right_B <= all_B).all()
    places = [agreements(scores_BN, ranks_BN, ties)["MRR"] for ties in ("wrong", "share", "right")]
    assert (places[0] <= places[1]).all()
    assert (places[1] <= places[2]).all()


def test_four_responses_by_hand():
    """Scores that put the second-best first, and the best second."""
    scores_BN, ranks_BN = np.array([[2.0, 3.0, 1.0, 0.0]]), np.array([[1.0, 2.0, 3.0, 4.0]])
    found = agreements(scores_BN, ranks_BN, "wrong")
    assert found["Kendall tau-b"][0] == pytest.approx(4 / 6)
    assert found["Spearman"][0] == pytest.approx(0.8)
    assert found["MRR"][0] == 0.5
    # Gains 3, 2, 1, 0 at 1, 1/log2(3) = 0.63093 and 0.5: (2 + 1.89279 + 0.5) / (3 + 1.26186 + 0.5)
    assert found["NDCG"][0] == pytest.approx(0.9225, abs=1e-4)
    assert [values[0] for values in pairs(scores_BN, ranks_BN, TIED_PAIR["wrong"])] == [5, 6]


def test_equal_scores_share_their_places():
    """All scores alike: any order would do, so that each gain has the mean discount."""
    scores_BN, ranks_BN = np.zeros((1, 3)), np.array([[1.0, 2.0, 2.0]])
    found = agreements(scores_BN, ranks_BN, "share")
    # Discounts 1, 0.63093, 0.5, of which the mean is 0.71031; the one gain is 2 and would best stand first.
    assert found["NDCG"][0] == pytest.approx(0.71031, abs=1e-5)
    assert found["MRR"][0] == 0.5  # two worse ones, on average one before it
    assert agreements(scores_BN, ranks_BN, "wrong")["MRR"][0] == pytest.approx(1 / 3)
    assert agreements(scores_BN, ranks_BN, "right")["MRR"][0] == 1
    assert [values[0] for values in pairs(scores_BN, ranks_BN, TIED_PAIR["share"])] == [1, 2]


def test_the_first_of_two_best_counts():
    scores_BN, ranks_BN = np.array([[0.0, 5.0, 7.0]]), np.array([[1.0, 1.0, 3.0]])
    assert agreements(scores_BN, ranks_BN, "wrong")["MRR"][0] == 0.5
