"""Histograms of magnitudes with fixed bins, and the ranges of 8-bit quantisation that follow from them.

Shapes: H bins of a histogram. Counts are int64 or float64 [H] of |x|.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Counts: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]

LOWEST, HIGHEST = -24, 24
"""Exponents of two between which a histogram tells values apart."""
MANTISSA_BITS = 4
"""Leading bits of the mantissa that tell bins apart: 16 bins an octave, each 3 to 6 % wide."""
FLOAT_BITS, FLOAT_BIAS = 23, 127
"""Mantissa and exponent bias of float32 (IEEE 754)."""
SHIFT = FLOAT_BITS - MANTISSA_BITS
"""Shift to the right of a magnitude's bits that numbers its bin, which makes every edge a float32."""
FIRST = ((LOWEST + FLOAT_BIAS) << MANTISSA_BITS) - 1
"""Number of the first bin after that shift."""
BINS = ((HIGHEST - LOWEST) << MANTISSA_BITS) + 2
"""Number of bins, H: one for magnitudes below 2**LOWEST, zeros among them, and one for those from 2**HIGHEST on."""
LEVELS = 127
"""Steps of symmetric int8 on each side of zero; -128 is not used."""
UNIFORM_BINS, ENTROPY_LEVELS = 2048, 128
"""Even bins and levels of entropy calibration, as in TensorRT."""
OCTAVES, PER_OCTAVE = 10, 32
"""Octaves below the largest magnitude in which ranges are tried for the least squared error, and ranges an octave."""


def bin_edges() -> Floats:
    """Edges of the bins, float64 [H + 1]: 0, the powers of two with 16 even steps between, infinity."""
    numbers = np.arange(FIRST + 1, FIRST + BINS, dtype=np.uint32) << SHIFT
    return np.concatenate([[0.0], numbers.view(np.float32).astype(np.float64), [np.inf]])


def percentile(counts: Counts, largest: float, q: float) -> float:
    """Magnitude below which ``q`` percent of the values lie; within a bin, values count as evenly spread.

    Args:
        counts: counts [H].
        largest: largest magnitude of all.
        q: percentage, 0 to 100.

    Returns:
        0 where there are no values.
    """
    edges, total = _edges_up_to(largest), counts.sum()
    if not total or q >= 100:
        return float(largest) if total else 0.0
    above = np.cumsum(counts, dtype=np.float64)
    rank = q / 100 * float(total)
    place = int(np.searchsorted(above, rank, side="right"))
    begin = above[place] - counts[place]
    return float(edges[place] + (edges[place + 1] - edges[place]) * (rank - begin) / counts[place])


def mse_range(counts: Counts, largest: float) -> float:
    """Range with which symmetric int8 has the least mean squared error of rounding and clipping.

    The range is the magnitude that becomes 127. Exact for values that are evenly spread within their bins; the ranges
    tried are 2**(1/32) apart.

    Args:
        counts: counts [H].
        largest: largest magnitude of all.

    Returns:
        0 where all values are 0 or there are none.
    """
    if not largest > 0:
        return 0.0
    candidates = largest * 2.0 ** (-np.arange(OCTAVES * PER_OCTAVE + 1) / PER_OCTAVE)
    errors = [squared_error(counts, largest, float(candidate)) for candidate in candidates]
    return float(candidates[int(np.argmin(errors))])


def squared_error(counts: Counts, largest: float, limit: float) -> float:
    """Mean of (x - Q(x))**2 where Q rounds to multiples of ``limit`` / 127 and clips at ``limit``.

    Args:
        counts: counts [H] of the magnitudes x, taken as evenly spread within their bins.
        largest: largest magnitude of all.
        limit: range, above 0.
    """
    used = np.flatnonzero(counts)
    if not len(used):
        return 0.0
    edges = _edges_up_to(largest)
    low, high = edges[used], edges[used + 1]
    width = high - low
    areas = (_integral(high, limit) - _integral(low, limit)) / np.where(width > 0, width, 1.0)
    points = (low - np.minimum(np.round(low * LEVELS / limit), LEVELS) * limit / LEVELS) ** 2
    means = np.where(width > 0, areas, points)
    return float(means @ counts[used] / counts[used].sum())


def entropy_range(counts: Counts, largest: float) -> float:
    """Range of entropy calibration: the clipped distribution and its 128 levels have the least KL divergence.

    After S. Migacz, "8-bit Inference with TensorRT", GTC 2017, with the zeros' bin taken as large as the next, as
    NVIDIA's calibrators do. The 2,048 even bins that it begins with are made from the histogram.

    Args:
        counts: counts [H].
        largest: largest magnitude of all.

    Returns:
        0 where all values are 0 or there are none; never below a sixteenth of the largest magnitude.
    """
    if not largest > 0:
        return 0.0
    return entropy_bins(to_uniform(counts, largest)) / UNIFORM_BINS * largest


def to_uniform(counts: Counts, largest: float) -> Floats:
    """Histogram of even bins from 0 to the largest magnitude, float64 [2048], values evenly spread within bins."""
    below = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    return np.diff(np.interp(np.linspace(0.0, largest, UNIFORM_BINS + 1), _edges_up_to(largest), below))


def entropy_bins(counts: Floats) -> int:
    """Number of even bins that the range keeps: at least 128, the most among equals.

    Args:
        counts: counts of |x|, float64, in bins of equal width from zero on; 128 bins at least.
    """
    bins = counts.copy()
    bins[0] = bins[1]
    sizes = np.arange(ENTROPY_LEVELS, len(bins) + 1)
    divergences = np.array([_divergence(bins, int(size)) for size in sizes])
    return int(sizes[::-1][np.argmin(divergences[::-1])])


def _divergence(counts: Floats, size: int) -> float:
    """Divergence KL(P || Q): P has the first ``size`` bins, all beyond in the last, and Q 128 levels of them."""
    kept = counts[:size]
    filled = kept > 0
    level = np.arange(size) * ENTROPY_LEVELS // size
    sums = np.bincount(level, kept, ENTROPY_LEVELS)
    bins = np.bincount(level, filled, ENTROPY_LEVELS)
    q = np.where(filled, (sums / np.maximum(bins, 1))[level], 0.0)
    p = kept.copy()
    p[-1] += counts[size:].sum()
    if not q.any() or (p[~filled] > 0).any():
        return np.inf
    p, q = p[filled] / p.sum(), q[filled] / q.sum()
    return float(p @ np.log(p / q))


def _edges_up_to(largest: float) -> Floats:
    """Edges with no bin reaching beyond the largest magnitude."""
    return np.minimum(bin_edges(), largest)


def _integral(x: Floats, limit: float) -> Floats:
    """Integral of (t - Q(t))**2 from 0 to x: a whole step adds step**3 / 12, and from the middle of one on, a cubic."""
    step = limit / LEVELS
    inside = np.minimum(x, limit)
    level = np.round(inside / step)
    return level * step**3 / 12 + (inside - level * step) ** 3 / 3 + np.maximum(x - limit, 0.0) ** 3 / 3
