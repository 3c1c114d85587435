"""Agreement of scores with ranks, against SciPy and counts by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from yoj.runtime.agreement import kendall_tau_b, pairs

VALUES = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), min_size=1, max_size=9)


@given(VALUES)
def test_tau_b_is_that_of_scipy(values):
    scores, ranks = zip(*values, strict=True)
    expected = kendalltau(scores, [-rank for rank in ranks], variant="b").statistic if len(values) > 1 else math.nan
    assert kendall_tau_b([scores], [ranks])[0] == pytest.approx(expected, nan_ok=True)


def test_pairs_are_counted_by_hand():
    scores = [[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 2.0, 1.0], [1.0, 2.0, 1.0]]
    ranks = [[1, 2, 3], [1, 2, 3], [1, 2, 2], [1, 1, 1]]
    # Equal scores are half right; equal ranks are no pair.
    assert [one.tolist() for one in pairs(scores, ranks)] == [[3, 0, 1.5, 0], [3, 3, 2, 0]]
    assert pairs(scores, ranks, tied=0)[0].tolist() == [3, 0, 1, 0]
