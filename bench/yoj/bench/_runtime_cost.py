"""Cost of the runtime beside the engine: import, load, preprocessing and packing.

yoj-bench runtime-cost judge.yoj --image photo.png
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from yoj.runtime import Request, Scorer

from ._environment import describe

WORDS = "the image shows a small red bus next to two people who wait under an old tree in the rain".split()  # noqa: SIM905
IMPORT = """
import sys, time
begin = time.perf_counter()
import yoj.runtime
seconds = time.perf_counter() - begin
loaded = [name for name in ("torch", "transformers", "onnxruntime") if name in sys.modules]
# getrusage would count what this process was before exec: a copy of its parent.
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(seconds, int(peak) / 1024, ",".join(loaded) or "-")
"""
RESIDENT = """
import sys
from yoj.runtime import Scorer
Scorer.load(sys.argv[1], modes=sys.argv[2:]).score("Why?", ["Because.", "No."])
resident = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS:"))
print(int(resident) / 1024)
"""


def measure_import(repeats: int = 9) -> dict[str, float]:
    """Least seconds and MiB of ``import yoj.runtime`` over fresh processes that load nothing else; Linux only."""
    runs = [subprocess.check_output([sys.executable, "-c", IMPORT], text=True).split() for _ in range(repeats)]
    assert all(run[2] == "-" for run in runs), f"the runtime loaded {runs[0][2]}"
    return {
        "import_s": min(float(run[0]) for run in runs),
        "import_MiB": min(float(run[1]) for run in runs),
    }


def measure_phases(scorer: Scorer, request: Request, repeats: int) -> dict[str, float]:
    """Median milliseconds of each phase of one request, after two runs to warm up."""
    runs = [scorer.score_batch([request])[0].timings_ms for _ in range(repeats + 2)][2:]
    return {phase: statistics.median(run[phase] for run in runs) for phase in runs[0]}


def text_request(n: int, prompt_words: int = 300, response_words: int = 60) -> Request:
    """Request of seeded words, about as long as a question with a passage and paragraph-long answers."""
    draw = random.Random(0)

    def text(words: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(words))

    return Request(text(prompt_words), [text(response_words) for _ in range(n)])


def timed(call: Callable[[], object], repeats: int = 5) -> float:
    """Median milliseconds of a call."""
    runs: list[float] = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        runs.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(runs)


def measure_packing(scorer: Scorer, n: int, repeats: int) -> dict[str, float]:
    """Median milliseconds of packing N responses jointly, isolated and in N orders, with the ratios to the first."""
    request = text_request(n, response_words=20)
    ways = {
        "joint": replace(request, mode="joint"),
        "isolated": replace(request, mode="isolated"),
        "orders": replace(request, mode="joint", orders=n),
    }
    runs: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats + 2):
        for way, one in ways.items():
            runs[way].append(scorer.prepare(one).about.timings_ms["pack"])
    medians = {way: statistics.median(of[2:]) for way, of in runs.items()}
    figures = {f"text_N{n}_{way}_pack_ms": value for way, value in medians.items()}
    ratios = {f"text_N{n}_{way}_times_joint": medians[way] / medians["joint"] for way in ("isolated", "orders")}
    return figures | ratios


def measure_graphs(bundle: Path) -> dict[str, float]:
    """Resident MiB of a process that has scored, with the graph of one mode open and with both; Linux only."""
    modes = {"one_graph_MiB": (), "both_graphs_MiB": ("joint", "isolated")}
    return {
        name: float(subprocess.check_output([sys.executable, "-c", RESIDENT, str(bundle), *opened], text=True))
        for name, opened in modes.items()
    }


def measure(bundle: Path, image: Path | None, repeats: int) -> dict[str, Any]:
    """Milliseconds and MiB of import, load, packing and the phases of requests, by name, with the environment.

    Args:
        bundle: folder of the bundle.
        image: photograph; without one, decoding and preprocessing are left out.
        repeats: number of counted runs of a request.

    Raises:
        YojError: the bundle cannot be loaded or run.
    """
    figures = {**measure_import(), "load_ms": timed(lambda: Scorer.load(bundle))}
    scorer = Scorer.load(bundle)
    request = text_request(16)
    figures["text_N16_L"] = float(scorer.prepare(request).tokens)
    phases = measure_phases(scorer, request, repeats)
    figures |= {f"text_N16_{phase}_ms": value for phase, value in phases.items()}
    figures["text_N16_overhead_ms"] = sum(phases[phase] for phase in ("pack", "gather"))
    figures |= measure_packing(scorer, 32, repeats) | measure_graphs(bundle)
    if image is not None:
        photo = Request("What is shown?", ["A cat.", "A dog.", "A bus.", "Nothing."], [image])
        figures |= {f"photo_N4_{phase}_ms": v for phase, v in measure_phases(scorer, photo, repeats).items()}
    return {"figures": figures, "environment": describe(os.cpu_count() or 1)}
