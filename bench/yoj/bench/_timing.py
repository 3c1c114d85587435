"""Timing of calls in turns, so that a slow moment of the machine hits all alike."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ._results import Time

CONFIDENCE = 0.95
SLOWER = 5.0
"""Ratio to the fastest call of the first turn, beyond which a call runs in no further turn."""
Key = TypeVar("Key")


def time_in_turns(
    calls: Mapping[Key, Callable[[], object]], repeats: int, clock: Callable[[], float] | None = None
) -> dict[Key, Time]:
    """Time each call once a turn; those that are slow by far, in the first turn only.

    Several times as slow as the fastest, a call cannot be the fastest, whatever its interval; more turns of it would be
    most of the time that a bench takes.

    Args:
        calls: calls by name; each has run before, since the first run of a shape allocates.
        repeats: number of turns.
        clock: function that gives seconds; None for wall time, `time.perf_counter`.
    """
    runs: dict[Key, list[float]] = {name: [] for name in calls}
    now = clock or time.perf_counter
    draw, left = random.Random(0), dict(calls)
    for _ in range(repeats):
        # In another order each time, so that nobody always follows the same neighbour.
        for name, call in draw.sample(list(left.items()), len(left)):
            begin = now()
            call()
            runs[name].append((now() - begin) * 1e3)
        longest = SLOWER * min(times[0] for times in runs.values())
        left = {name: call for name, call in left.items() if runs[name][0] <= longest}
    return {name: interval(times) for name, times in runs.items()}


def interval(runs: Sequence[float]) -> Time:
    """Median, and the smallest pair of order statistics that holds the true one with 95 % confidence.

    How many of n runs are below the true median is binomial (n, 1/2), whatever times are distributed like. With less
    than six runs even the fastest and the slowest hold it with less confidence; they are given all the same.
    """
    ordered, n = sorted(runs), len(runs)
    outside, rank = 2.0**-n, 0
    while outside + math.comb(n, rank + 1) * 2.0**-n <= (1 - CONFIDENCE) / 2:
        rank += 1
        outside += math.comb(n, rank) * 2.0**-n
    return Time(median=statistics.median(ordered), low=ordered[rank], high=ordered[n - 1 - rank], runs=n)
