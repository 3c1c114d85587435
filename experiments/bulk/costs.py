"""Seconds of the cores and bytes that a row costs, by the part of ``yoj-score`` that they go to. Linux only."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import threading
import time
from pathlib import Path
from typing import Any

from yoj.bench.memory import memory_below
from yoj.runtime.cli import main

LOOK_S = 0.1
"""Seconds from one look at the processes to the next."""
TICKS = os.sysconf("SC_CLK_TCK")


class CoreSeconds:
    """Seconds of the cores that children of this process took in a ``with`` block, by the beginning of their names."""

    def __init__(self) -> None:
        self._of: dict[str, float] = {}
        self.peak_bytes = 0
        """Most memory of these processes together, shared pages counted once."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> CoreSeconds:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def of(self, name: str) -> float:
        """Seconds of the processes whose names begin in this way."""
        return sum(seconds for process, seconds in self._of.items() if process.startswith(name))

    def _watch(self) -> None:
        looks = 0
        while not self._ended.wait(LOOK_S):
            for child in multiprocessing.active_children():
                try:
                    fields = Path(f"/proc/{child.pid}/stat").read_text("ascii").rpartition(")")[2].split()
                except OSError:  # it has ended
                    continue
                self._of[child.name] = (int(fields[11]) + int(fields[12])) / TICKS
            looks += 1
            if looks % 20 == 0:
                self.peak_bytes = max(self.peak_bytes, memory_below(os.getpid()))


def measure(bundle: Path, shards: Path, out: Path) -> dict[str, Any]:
    """Score shards into a new folder, in this process and those that it starts.

    Returns:
        ``rows``, ``seconds`` from the first row to the last result, ``busy``, the share of them in which the engine
        ran; ``core_s``, seconds of cores for a row in the engine's processes, in those that prepare, and in this one;
        ``bytes`` of a row in the shards and in the results, ``peak_bytes`` of memory of the processes that it starts.
    """
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.monotonic()
    with CoreSeconds() as cores:
        main([str(bundle), str(shards), "--out", str(out)], standalone_mode=False)
    elapsed = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_SELF)
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    usage = json.loads((out / "run.json").read_text("utf-8"))["usage"]
    rows = int(usage["rows"])
    return {
        "rows": rows,
        "seconds": usage["scoring_seconds"],
        "seconds_with_loading": round(elapsed, 3),
        "busy": usage["engine_seconds"] / usage["scoring_seconds"],
        "core_s": {
            "engine": cores.of("yoj-engine") / rows,
            "prepare": cores.of("yoj-prepare") / rows,
            "parent": own / rows,
        },
        "bytes": {"shards": _size(shards) / rows, "results": _size(out) / rows},
        "peak_bytes": cores.peak_bytes,
    }


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("part-*"))
