"""``yoj-score`` over shards, killed at random moments and started again until it has finished. Linux only."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoj.bench.memory import memory_below

LOOK_S = 2.0
"""Seconds from one look at the memory to the next."""
WAYS = ("all", "parent", "child")
"""Processes that a kill ends: all of them at once, the one that was started, or one of those that it has started."""


@dataclass(frozen=True)
class Trial:
    """Order to score shards under kills."""

    bundle: Path
    shards: Path
    out: Path
    kills: int
    """Number of kills."""
    most_s: float
    """Longest time from a start or a kill to the next kill."""
    seed: int = 0


def run(trial: Trial, tell: Callable[[str], None]) -> dict[str, Any]:
    """Score the shards.

    Returns:
        ``kills`` by what they ended, ``starts``, ``seconds`` of all starts, ``memory``, pairs of seconds and bytes of
        all processes together, and ``usage`` of the last start.

    Raises:
        RuntimeError: a start ends with an error of its own.
    """
    rng, begin = random.Random(trial.seed), time.monotonic()
    left = [rng.choice(WAYS) for _ in range(trial.kills)]
    told: dict[str, Any] = {"kills": {way: left.count(way) for way in WAYS}, "starts": 0, "memory": []}
    words = [sys.executable, "-m", "yoj.runtime.cli", str(trial.bundle), str(trial.shards), "--out", str(trial.out)]
    while True:
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
        told["starts"] += 1
        while process.poll() is None:
            ended = _wait(process, rng.uniform(1, trial.most_s) if left else None, begin, told["memory"])
            if not ended and left:
                tell(f"{time.monotonic() - begin:.0f} s: {left[-1]} killed")
                _kill(process.pid, left.pop(), rng)
        _, errors = process.communicate()
        if process.returncode == 0:
            break
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}: {errors[-2000:]}")
    told["kills_left"] = len(left)
    told["seconds"] = round(time.monotonic() - begin, 1)
    told["usage"] = json.loads((trial.out / "run.json").read_text("utf-8"))["usage"]
    return told


def _wait(process: subprocess.Popen[str], seconds: float | None, begin: float, memory: list[list[float]]) -> bool:
    """Look at the memory until the process ends, or for so many seconds; returns whether it has ended."""
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        try:
            process.wait(LOOK_S if end is None else max(0.01, min(LOOK_S, end - time.monotonic())))
            return True
        except subprocess.TimeoutExpired:
            memory.append([round(time.monotonic() - begin, 1), memory_below(os.getpid())])
    return False


def _kill(process: int, way: str, rng: random.Random) -> None:
    if way == "all":
        os.killpg(process, signal.SIGKILL)
    elif way == "parent":
        os.kill(process, signal.SIGKILL)
    else:
        children = Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()
        if children:
            os.kill(int(rng.choice(children)), signal.SIGKILL)
