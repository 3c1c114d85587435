"""Bootstrap over groups of items."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ._items import Scored

RESAMPLES = 1000
INTERVAL = (2.5, 97.5)
"""Percentiles between which 95 % of the resamples lie."""


@dataclass(frozen=True)
class Interval:
    """95% interval of a figure; of the percentiles of its resamples."""

    low: float
    high: float


class ItemGroups:
    """Items by groups, of which samples with replacement are drawn.

    A group that is drawn twice counts as two: in its copies the items have other keys and groups, so that figures of
    groups do not merge them.
    """

    def __init__(self, scored: Sequence[Scored]):
        members: defaultdict[str, list[Scored]] = defaultdict(list)
        for one in scored:
            members[one.item.group].append(one)
        self.names = tuple(members)
        self._copies: list[list[list[Scored]]] = [[own] for own in members.values()]

    def take(self, counts_G: NDArray[np.int64]) -> list[Scored]:
        """Items of each group as often as it was drawn, [G] times."""
        taken: list[Scored] = []
        for place in np.flatnonzero(counts_G).tolist():
            for number in range(int(counts_G[place])):
                taken += self._copy(place, number)
        return taken

    def _copy(self, place: int, number: int) -> list[Scored]:
        copies = self._copies[place]
        while len(copies) <= number:
            mark = f" (copy {len(copies)})"
            items = [replace(s.item, key=s.item.key + mark, group=s.item.group + mark) for s in copies[0]]
            copies.append([replace(s, item=item) for s, item in zip(copies[0], items, strict=True)])
        return copies[number]


def resamples(groups: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Draw how often each group is in each resample, int64 [G]."""
    source = np.random.default_rng(seed)
    for _ in range(RESAMPLES):
        yield np.bincount(source.integers(0, groups, groups), minlength=groups)


def bootstrap(
    scored: Sequence[Scored], measure: Callable[[Sequence[Scored]], Mapping[str, float]], seed: int
) -> dict[str, Interval]:
    """Intervals of all figures of a benchmark, by the percentile bootstrap over groups.

    A figure that a resample does not have, as that of a category which was not drawn, is taken over the others. With
    one group there are none.
    """
    groups = ItemGroups(scored)
    if len(groups.names) < 2:
        return {}
    return intervals([measure(groups.take(counts_G)) for counts_G in resamples(len(groups.names), seed)])


def intervals(found: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """Intervals of figures from their values in each resample; NaN is passed over."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for figures in found:
        for name, value in figures.items():
            if math.isfinite(value):
                values[name].append(value)
    return {name: Interval(*map(float, np.percentile(own, INTERVAL))) for name, own in values.items()}


def mean(values: Sequence[float]) -> float | None:
    """Mean of values; None where there are none."""
    return float(np.mean(values)) if values else None
