"""Progress of a run, on a terminal and in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

LOG_S = 10.0
TERMINAL_S = 0.5
"""Seconds from one report to the next."""


class RunProgress:
    """Counts and reports of the rows of a run. Rows of shards that were not looked into yet are estimated by size."""

    def __init__(self, stream: TextIO, busy: Callable[[], float | None] = lambda: None):
        """Begin to measure.

        Args:
            stream: destination of the reports; a terminal has one line that is written over.
            busy: function that tells the share of the time in which the engine worked; None where that is not known.
        """
        self._stream, self._busy = stream, busy
        self._terminal = stream.isatty()
        self._begin = self._said = time.monotonic()
        self.fresh = 0
        """Rows that this start of the run has finished."""
        self.failed = 0
        """Rows of these that failed."""
        self._going = True
        self._earlier = 0
        self._known: dict[str, int] = {}
        self._sizes: dict[str, int] = {}

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begin

    def expect(self, shard: str, size: int, rows: int | None = None) -> None:
        """Take note of a shard of ``size`` bytes, and of its rows where they are known."""
        self._sizes[shard] = size
        if rows is not None:
            self._known[shard] = rows

    def found(self, rows: int) -> None:
        """Count rows that an earlier start has finished."""
        self._earlier += rows

    def advance(self, failed: bool) -> None:
        """Count one row, and report where it is time to."""
        self.fresh += 1
        self.failed += failed
        now = time.monotonic()
        if now - self._said >= (TERMINAL_S if self._terminal else LOG_S):
            self._said = now
            self._show(self.text())

    def close(self) -> None:
        """End the reports, and the line of a terminal."""
        if self._going and self._terminal and self._said > self._begin:
            self._stream.write("\n")
            self._stream.flush()
        self._going = False

    def text(self) -> str:
        """Report of this moment."""
        done, rate = self._earlier + self.fresh, self.fresh / max(self.seconds, 1e-9)
        total, exact = self._total()
        parts = [f"{done:,} rows" if total is None else f"{done:,} of {'' if exact else 'about '}{total:,} rows"]
        parts.append(f"{rate:,.1f} rows/s")
        if (busy := self._busy()) is not None:
            parts.append(f"engine busy {busy:.0%}")
        parts += [f"{self.failed:,} failed"] if self.failed else []
        if total is not None and rate > 0 and self._going:
            parts.append(f"{_span(max(0, total - done) / rate)} to come")
        return ", ".join(parts)

    def _total(self) -> tuple[int | None, bool]:
        """Number of rows, and whether it is exact."""
        known, size = sum(self._known.values()), sum(self._sizes[name] for name in self._known)
        rest = sum(size for name, size in self._sizes.items() if name not in self._known)
        if rest and not size:
            return None, False
        return known + (round(known * rest / size) if rest else 0), not rest

    def _show(self, text: str) -> None:
        self._stream.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        self._stream.flush()


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
