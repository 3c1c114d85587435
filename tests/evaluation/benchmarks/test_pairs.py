"""Credits of pairs are those of `credit_of`."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from yoj.evaluation.benchmarks._base import TieRule, credit_of
from yoj.evaluation.benchmarks._pairs import pair_credit


@given(st.integers(0, 2), st.integers(0, 2), st.booleans(), st.sampled_from(get_args(TieRule)))
def test_a_pair_counts_as_any_item_does(first, second, swapped, ties):
    ranks = (2.0, 1.0) if swapped else (1.0, 2.0)
    scores = (float(first), float(second))
    assert pair_credit(scores, int(swapped), int(not swapped), ties) == credit_of(scores, ranks, ties)
