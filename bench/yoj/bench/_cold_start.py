"""Time and memory of a cold start, by event: a fresh process loads a bundle on the CPU and scores once.

yoj-bench cold-start judge.yoj --image photo.jpg --out bench/results/cold-start.json

The files are read once before, so that they come from the system's memory. The events are those of the runtime's own
log.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from ._environment import describe
from ._errors import BenchError
from ._start import weight_bytes

PROMPT = "What does the picture show, and what is it doing?"
RESPONSES = ("A cat looks into the camera.", "A dog sleeps on a sofa.", "Two people ride bicycles.", "An empty street.")
READ_BYTES = 2**24
CHILD = """
import json, logging, resource, sys, time

def memory():
    with open("/proc/self/smaps_rollup") as lines:
        sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB\\n")}
    return {"anonymous": sizes["Anonymous:"], "of_files": sizes["Rss:"] - sizes["Anonymous:"]}

def moment():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"wall_s": time.perf_counter() - begin, "cpu_s": usage.ru_utime + usage.ru_stime - spent}

class Timeline(logging.Handler):
    def emit(self, record):
        events.append(moment() | {"event": record.getMessage().replace(asked["bundle"], "the bundle")})

asked, events, spent, begin = json.load(sys.stdin), [], 0.0, time.perf_counter()
spent = moment()["cpu_s"]
logging.getLogger("yoj").addHandler(Timeline())
logging.getLogger("yoj").setLevel(logging.DEBUG)
from yoj.runtime import Scorer
events.append(moment() | {"event": "imported yoj.runtime"})
scorer = Scorer.load(asked["bundle"], engine="onnxruntime", threads=asked["threads"])
loaded = moment() | {"event": "loaded"}
events.append(loaded)
after_load = memory()
judgement = scorer.score(asked["prompt"], asked["responses"], images=asked["images"])
events.append(moment() | {"event": "scored"})
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"events": events, "memory_after_load": after_load, "memory_after_score": memory(), "peak": peak,
                  "scores": judgement.scores, "precision": scorer.engine.precision,
                  "base_precision": scorer.engine.base_precision}))
"""


def measure_starts(bundle: Path, image: Path | None, threads: int, repeats: int) -> dict[str, Any]:
    """Figures of the median of several starts, with the seconds of all and the environment; see `measure`."""
    starts = [measure(bundle, image, threads) for _ in range(repeats)]
    figures = starts[sorted(range(repeats), key=lambda i: starts[i]["events"][-1]["wall_s"])[repeats // 2]]
    for unit in ("wall_s", "cpu_s"):
        figures[f"all_{unit}"] = [start["events"][-1][unit] for start in starts]
    return figures | {"environment": describe(threads)}


def measure(bundle: Path, image: Path | None, threads: int) -> dict[str, Any]:
    """Measure one start, its files in the system's memory.

    Args:
        bundle: folder of the bundle.
        image: image that the prompt is about.
        threads: see `yoj.runtime.Scorer.load`.

    Returns:
        ``events`` in order, each with seconds and CPU seconds since the process began its work; bytes of memory, those
        of the weights among them; the scores.

    Raises:
        BenchError: the process failed; its last words are in the text.
    """
    for file in bundle.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                while stream.read(READ_BYTES):
                    pass
    asked = {
        "bundle": str(bundle.absolute()),
        "prompt": PROMPT,
        "responses": RESPONSES,
        "threads": threads,
        "images": [str(image)] if image else [],
    }
    run = subprocess.run([sys.executable, "-c", CHILD], input=json.dumps(asked), capture_output=True, text=True)
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchError(f"{bundle} did not load and score in a process of its own: {last}")
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    found["weights"] = weight_bytes(bundle, found["precision"])
    for event in found["events"]:
        event |= {unit: round(event[unit], 3) for unit in ("wall_s", "cpu_s")}
    return found


def table(figures: dict[str, Any]) -> str:
    """Table of the events and of the memory, as text."""
    lines = ["   wall s    CPU s"]
    lines += [f"{event['wall_s']:9.2f}{event['cpu_s']:9.2f}  {event['event']}" for event in figures["events"]]
    if len(figures["all_wall_s"]) > 1:
        spread = ", ".join(f"{seconds:.2f}" for seconds in figures["all_wall_s"])
        lines.append(f"median {statistics.median(figures['all_wall_s']):.2f} s of {spread}")
    weights = figures["weights"]
    for when in ("memory_after_load", "memory_after_score"):
        own, files = figures[when]["anonymous"], figures[when]["of_files"]
        times = (own + files) / weights
        lines.append(
            f"{when}: {own / 1e9:.2f} GB of its own, {files / 1e9:.2f} of files, {times:.2f} times the weights"
        )
    return "\n".join(
        [*lines, f"at most {figures['peak'] / 1e9:.2f} GB, {figures['peak'] / weights:.2f} times the weights"]
    )
