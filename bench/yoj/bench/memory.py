"""Memory of a process and of all that it has started, pages that they share counted once. Linux only."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from pathlib import Path
from typing import Self

EVERY = 0.2
"""Seconds from one look to the next."""
PROC = Path("/proc")


class PeakOfChildren:
    """Most bytes of memory that the processes below this one had together, within a ``with`` block."""

    def __init__(self) -> None:
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def read(self) -> int:
        """Peak in bytes so far."""
        self._peak = max(self._peak, memory_below(os.getpid()))
        return self._peak

    def _watch(self) -> None:
        while not self._ended.wait(EVERY):
            self.read()


def memory_below(process: int) -> int:
    """Bytes of memory of all processes that a process and its children have started."""
    children = defaultdict[int, list[int]](list)
    for folder in PROC.glob("[0-9]*"):
        if (parent := _parent(folder)) is not None:
            children[parent].append(int(folder.name))
    total, waiting = 0, [*children[process]]
    while waiting:
        one = waiting.pop()
        total += _bytes(one)
        waiting += children[one]
    return total


def _parent(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return None


def _bytes(process: int) -> int:
    """Proportional size: a page that n processes share counts a n-th for each."""
    try:
        lines = (PROC / str(process) / "smaps_rollup").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    except (OSError, StopIteration):
        return 0
