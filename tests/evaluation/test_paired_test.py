"""McNemar's exact test."""

from __future__ import annotations

import pytest

from yoj.evaluation._paired_test import McNemar, mcnemar


def test_the_probability_is_that_of_the_binomial():
    first = [True] * 8 + [True, False] + [False] * 2
    second = [False] * 8 + [True, False] + [True] * 2
    # Twice the probability of 2 or fewer of 10: 2 * (1 + 10 + 45) / 1024
    assert mcnemar(first, second) == McNemar(8, 2, pytest.approx(112 / 1024))
    assert mcnemar(second, first) == McNemar(2, 8, pytest.approx(112 / 1024))


def test_judges_that_agree_do_not_differ():
    assert mcnemar([True, False], [True, False]) == McNemar(0, 0, 1.0)
