"""Environment of a measurement."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from yoj.runtime.engines.device import check, load_cuda
from yoj.runtime.errors import EngineError
from yoj.runtime.machine import LIBRARIES, instruction_sets, versions

PEERS = ("torch", "transformers")
"""Libraries that bundles are measured beside."""


def describe(threads: int) -> dict[str, Any]:
    """Machine, threads, versions of the installed libraries, the day in UTC, and yoj's commit in its repository.

    Nothing names a person, a host or a folder.
    """
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "cpu": _cpu(),
        "instruction_sets": list(instruction_sets()),
        "cores": os.cpu_count(),
        "threads": threads,
        "gpu": _gpu(),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    found |= versions((*PEERS, *LIBRARIES))
    if (commit := _commit()) is not None:
        found["commit"] = commit
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _gpu() -> str | None:
    try:
        cudart = load_cuda()
        return check(cudart, cudart.cudaGetDeviceProperties(0), "ask for the GPU's name").name.decode()
    except EngineError:
        return None


def _commit() -> str | None:
    try:
        # Installed below the folder of another repository, it is no file of that.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("rev-parse", "--short", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    folder = Path(__file__).parent
    return subprocess.check_output(["git", *words], cwd=folder, text=True, stderr=subprocess.DEVNULL).strip()
