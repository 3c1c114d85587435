"""Paired test of two judges on the same items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class McNemar:
    """Exact test of McNemar: whether two judges are right equally often, from the items where one alone is right."""

    only_first: int
    """Number of items where the first judge alone is right."""
    only_second: int
    p: float
    """Two-sided probability of counts so unequal or more, if both are right equally often."""


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Compare two judges on the same items, each right or wrong."""
    from scipy.stats import binomtest

    one = sum(a and not b for a, b in zip(first, second, strict=True))
    two = sum(b and not a for a, b in zip(first, second, strict=True))
    return McNemar(one, two, float(binomtest(one, one + two).pvalue) if one + two else 1.0)
