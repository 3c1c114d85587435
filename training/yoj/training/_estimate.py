"""Estimate of a run's duration from its first steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

STEPS = 3
"""Number of steps that an estimate waits for, or half of the run where that is less. The first batch, which is slower
than the others, does not count."""
PATIENCE_S = 20.0
"""Seconds after which an estimate is made from the batches so far."""


@dataclass(frozen=True)
class RunSize:
    """Work that is left."""

    steps: int
    """Number of steps from here to the end."""
    batches: int
    """Number of batches of each process in a step."""
    processes: int
    left_out: str
    """Work that the estimate does not count, as text for a person."""
    how: str
    """Precision and device, as text for a person."""


@dataclass(frozen=True)
class TimedBatches:
    """Batches of this process that are timed."""

    batches: int = 0
    seconds: float = 0.0
    samples: int = 0
    tokens: int = 0

    def plus(self, seconds: float, samples: int, tokens: int) -> TimedBatches:
        """Copy with one batch more."""
        return TimedBatches(self.batches + 1, self.seconds + seconds, self.samples + samples, self.tokens + tokens)


class Estimate:
    """Clock of the first batches of a run, which estimates its duration once."""

    def __init__(self, work: RunSize, clock: Callable[[], float] = time.perf_counter):
        self.work, self._clock = work, clock
        self._mark = clock()
        self._first, self._others = TimedBatches(), TimedBatches()
        self._said = False

    def go_on(self) -> None:
        """Leave out the time since the last batch, which was spent on something else."""
        self._mark = self._clock()

    def add(self, samples: int, tokens: int) -> str | None:
        """Count a batch of this process that is done.

        Args:
            samples: number of samples in the batch.
            tokens: number of tokens in it, without padding.

        Returns:
            Estimate, once; None where it is too early for it, or it was made before.
        """
        seconds, self._mark = self._clock() - self._mark, self._clock()
        if self._first.batches:
            self._others = self._others.plus(seconds, samples, tokens)
        else:
            self._first = self._first.plus(seconds, samples, tokens)
        if self._said or not self._enough():
            return None
        self._said = True
        return self._tell(self._others if self._others.batches else self._first)

    @property
    def _batches(self) -> int:
        return self._first.batches + self._others.batches

    def _enough(self) -> bool:
        if self._batches >= self.work.steps * self.work.batches:
            return False  # there is nothing left to estimate
        waited = self._first.seconds + self._others.seconds >= PATIENCE_S
        steps = max(1, min(STEPS, self.work.steps // 2))
        return waited or (self._others.batches > 0 and self._batches >= steps * self.work.batches)

    def _tell(self, done: TimedBatches) -> str:
        a_step = done.seconds / done.batches * self.work.batches
        rest = self.work.steps - self._batches // self.work.batches
        speed = self.work.processes / max(done.seconds, 1e-9)
        source = f"{done.batches:,} batches after the first" if done is self._others else "the first batch"
        return (
            f"About {a_step:.2g} s a step, {duration(a_step * rest)} for the {rest:,} steps to come"
            f"{self.work.left_out}; {done.samples * speed:.3g} samples/s, {done.tokens * speed:,.0f} tokens/s "
            f"in {self.work.how}; from {source}."
        )


def duration(seconds: float) -> str:
    """Seconds in units for people: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h"
