"""Latency of one request with a bundle and an engine: from prompt and pixels to scores, and in the engine alone.

yoj-bench latency judge.yoj --engine onnxruntime-cuda --out bench/results/latency.json
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from yoj.runtime import Scorer

from ._environment import describe
from ._errors import BenchError
from ._requests import Size, request_of

SHAPES = ("1600x4", "3400x16")
"""Shapes L x N: a photograph with four answers of a few sentences, and best of 16."""
WARM_UP = 3
"""Number of runs that are not counted: the first of a shape allocates, and may capture a CUDA graph."""
IMAGE = (400, 600, 3)


def parse_shape(shape: str) -> tuple[int, int]:
    """Sizes L and N of a shape such as ``1600x4``.

    Raises:
        BenchError: the text has another form.
    """
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", shape):
        raise BenchError(f"{shape} is not tokens x responses, such as {SHAPES[0]}.")
    length, n = map(int, shape.split("x"))
    return length, n


def measure_all(bundle: Path, engine: str | None, shapes: Sequence[str] = SHAPES, repeats: int = 20) -> dict[str, Any]:
    """Figures of several shapes, ``L x N`` each, with their engine and environment.

    Raises:
        BenchError: a shape cannot be read.
        YojError: the bundle cannot be loaded or run.
    """
    sizes = {shape: parse_shape(shape) for shape in shapes}
    with Scorer.load(bundle, engine=engine) as scorer:
        limits, found = scorer.manifest.limits, dict[str, dict[str, float]]()
        for shape, (length, n) in sizes.items():
            if length > 0.95 * limits.L or n > limits.N:  # the row comes out a little longer
                click.echo(f"{shape}: left out, {bundle} takes L={limits.L:,} and N={limits.N}", err=True)
            else:
                found[shape] = measure(scorer, length, n, repeats)
        named = f"{scorer.engine.engine} {scorer.engine.precision}"
    return {"engine": named, "requests": found, "environment": describe(os.cpu_count() or 1)}


def table(figures: Mapping[str, Any]) -> str:
    """Table as text, a line for each shape."""
    lines = [figures["engine"], f"{'L':>6} {'N':>4} {'median ms':>10} {'p90 ms':>10} {'scorer ms':>10}"]
    row = "{L:6} {N:4} {median_ms:10.2f} {p90_ms:10.2f} {scorer_ms:10.2f}"
    return "\n".join([*lines, *(row.format(**of) for of in figures["requests"].values())])


def measure(scorer: Scorer, length: int, n: int, repeats: int) -> dict[str, float]:
    """Median and 90th percentile in milliseconds; the image's features are remembered after the first run.

    Args:
        scorer: loaded scorer.
        length: tokens of the sequence, L; a quarter of them are the responses'.
        n: number of responses, N.
        repeats: number of counted runs.
    """
    image = np.random.default_rng(0).integers(0, 256, IMAGE, np.uint8)
    request = request_of(scorer, Size(prompt=length * 3 // 4, response=length // (4 * n), n=n), [image])
    total, engine = list[float](), list[float]()
    for number in range(WARM_UP + repeats):
        begin = time.perf_counter()
        judgement = scorer.score(request.prompt, request.responses, images=request.images, mode="joint")
        if number >= WARM_UP:
            total.append((time.perf_counter() - begin) * 1e3)
            engine.append(judgement.timings_ms["scorer"])
    return {
        "L": scorer.prepare(request).tokens,
        "N": n,
        "median_ms": statistics.median(total),
        "p90_ms": sorted(total)[int(0.9 * len(total))],
        "scorer_ms": statistics.median(engine),
    }
