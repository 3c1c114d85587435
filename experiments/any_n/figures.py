"""Figures with intervals, by the bootstrap over items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Figure: TypeAlias = "dict[str, float]"
"""Figure as it stands in results: ``value``, ``low`` and ``high`` of its 95 % interval, and ``count`` of items."""
RESAMPLES = 1000
INTERVAL = (2.5, 97.5)


def figure(measure: Callable[[NDArray[np.int64]], float], count: int) -> Figure:
    """Figure of items with the percentiles of its resamples; where all items are alike the interval has no width.

    Args:
        measure: function from the numbers of the items, int64 [S] from 0, which may repeat, to the figure. It must be
            finite for all of them; resamples for which it is NaN are passed over.
        count: number of items.

    Raises:
        ValueError: there are no items, or the figure of all is not finite.
    """
    value = measure(np.arange(count)) if count else np.nan
    if not np.isfinite(value):
        raise ValueError(f"a figure of {count} items is {value}; give more items")
    source = np.random.default_rng(0)
    found = [measure(source.integers(0, count, count)) for _ in range(RESAMPLES)]
    low, high = np.nanpercentile(found, INTERVAL)
    return {"value": float(value), "low": float(low), "high": float(high), "count": count}


def mean(values: Sequence[float]) -> Figure:
    """Mean of a value of each item.

    Raises:
        ValueError: there are none, or some are not finite.
    """
    values_S = np.asarray(values, np.float64)
    return figure(lambda own: float(values_S[own].mean()), len(values_S))


def share(parts: Sequence[float], wholes: Sequence[float]) -> Figure | None:
    """Sum of parts over sum of wholes, of which each item has some or none; None where no item has any.

    ``count`` is the sum of the wholes.
    """
    parts_S, wholes_S = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    if not wholes_S.sum():
        return None

    def measure(own: NDArray[np.int64]) -> float:
        whole = wholes_S[own].sum()
        return float(parts_S[own].sum() / whole) if whole else float("nan")

    return figure(measure, len(wholes_S)) | {"count": float(wholes_S.sum())}
