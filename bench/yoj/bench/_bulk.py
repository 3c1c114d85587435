"""Bulk scoring: a file of requests by a plain loop, in batches of 16, by the pipeline, and by a loop in PyTorch.

yoj-bench bulk judge.yoj --requests held-out.jsonl --checkpoint checkpoints/shapes-qwen3_vl \\
    --out 'bench/results/{kind}/bulk.json'

Each variant takes the lines of the file to scores, so that reading, decoding and packing are part of it, in processes
of its own. It loads and scores a few requests before the clock starts. Variants take turns, and their scores are
compared with those of the plain loop.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from yoj.runtime import Policy, Reading, Request, Scorer, decode_request
from yoj.runtime.bulk import FileScoring, Pipeline, PipelineConfig, ShardRow, Source
from yoj.runtime.bundle import Bundle
from yoj.runtime.engines import open_session
from yoj.runtime.engines.metered import MeteredSession

from ._environment import describe
from ._errors import BenchError
from .memory import PeakOfChildren
from ._server import made_requests

TOGETHER = 16
"""Requests of a batch of the loops in batches."""
WARM_UP = 4
"""Requests that each variant scores before the clock starts."""
LONGEST = 120
"""Words of the longest response of requests that are made up."""


@dataclass(frozen=True)
class BulkSettings:
    """Settings of a measurement."""

    bundle: Path
    requests: Path | None
    """File of requests; None for made-up ones, of text."""
    count: int
    """Most requests."""
    checkpoint: Path | None
    """Checkpoint of the bundle, for the loop in PyTorch; None for none."""
    threads: int
    workers: int
    """Processes of the pipeline that run the engine, beside one."""


@dataclass(frozen=True)
class BulkRun:
    """One run of a variant."""

    seconds: float
    busy: float
    """Share of the time in which the engine ran, or the model in PyTorch."""
    scores: list[tuple[float, ...]]


@dataclass(frozen=True)
class _Job:
    settings: BulkSettings
    lines: list[bytes]

    @property
    def reading(self) -> Reading:
        """Settings for reading the lines."""
        return Reading(Policy(self.settings.requests.parent if self.settings.requests else None))

    def requests(self, lines: Sequence[bytes]) -> list[Request]:
        """Requests of some lines."""
        return [decode_request(line, self.reading) for line in lines]


def measure(settings: BulkSettings, repeats: int) -> dict[str, Any]:
    """Measure all variants in turns. Linux only.

    Returns:
        ``variants``, for each the median and all values of ``requests_per_s`` and ``busy``, the most memory of all of
        its processes, shared pages counted once, and the largest difference of a score from the plain loop's;
        ``requests``; ``settings``; the environment.

    Raises:
        BenchError: there are no requests, or a variant's scores are not those of the plain loop.
        YojError: a bundle does not load, or a request fails.
    """
    job = _Job(settings, lines_of(settings))
    runs: dict[str, list[tuple[BulkRun, int]]] = {name: [] for name in _variants(settings)}
    for _ in range(repeats):
        for name, variant in _variants(settings).items():
            runs[name].append(_in_own_process(variant, job))
    plain = runs["plain loop"][0][0].scores
    return {
        "variants": {name: _figures(of, plain) for name, of in runs.items()},
        "requests": len(job.lines),
        "settings": {"workers": settings.workers, "bundle": settings.bundle.name, "together": TOGETHER},
        "environment": describe(settings.threads),
    }


def lines_of(settings: BulkSettings) -> list[bytes]:
    """Requests that are scored, each a line of JSON.

    Raises:
        BenchError: the file has none.
    """
    if settings.requests is None:
        return [json.dumps(one).encode() for one in made_requests(settings.count, LONGEST)]
    lines = [line for line in settings.requests.read_bytes().splitlines() if line.strip()][: settings.count]
    if not lines:
        raise BenchError(f"{settings.requests} has no requests. Give a file with one JSON object a line.")
    return lines


def _variants(settings: BulkSettings) -> dict[str, Callable[[_Job], BulkRun]]:
    found = {"plain loop": _plain_loop, f"batches of {TOGETHER}": _batches, "pipeline": _pipeline}
    found |= {f"pipeline, {settings.workers} workers": _workers} if settings.workers > 1 else {}
    return found | ({"PyTorch": _pytorch} if settings.checkpoint is not None else {})


def _in_own_process(variant: Callable[[_Job], BulkRun], job: _Job) -> tuple[BulkRun, int]:
    """The run, and the most bytes of memory of its processes."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, PeakOfChildren() as peak:
        return pool.submit(variant, job).result(), peak.read()


def _figures(of: list[tuple[BulkRun, int]], plain: list[tuple[float, ...]]) -> dict[str, Any]:
    rates = [len(run.scores) / run.seconds for run, _ in of]
    busy = [run.busy for run, _ in of]
    differences = [
        float(np.abs(np.subtract(mine, yours)).max())
        for run, _ in of
        for mine, yours in zip(run.scores, plain, strict=True)
    ]
    return {
        "requests_per_s": statistics.median(rates),
        "busy": statistics.median(busy),
        "peak_bytes": max(peak for _, peak in of),
        "difference": max(differences),
        "rounds": [{"requests_per_s": rate, "busy": share} for rate, share in zip(rates, busy, strict=True)],
    }


def _plain_loop(job: _Job) -> BulkRun:
    return _by_scorer(job, 1)


def _batches(job: _Job) -> BulkRun:
    return _by_scorer(job, TOGETHER)


def _by_scorer(job: _Job, together: int) -> BulkRun:
    opened = Bundle.open(job.settings.bundle)
    engine = opened.engine("onnxruntime")
    session = MeteredSession(open_session(opened, engine, job.settings.threads), 1)
    with Scorer(opened, engine, session) as scorer:
        scorer.score_batch(job.requests(_warm_up()))
        session.take_seconds()
        begin = time.perf_counter()
        scores = [
            judgement.scores
            for batch in _cut(job.lines, together)
            for judgement in scorer.score_batch(job.requests(batch))
        ]
        seconds = time.perf_counter() - begin
        return BulkRun(seconds, session.take_seconds() / seconds, scores)


def _pipeline(job: _Job) -> BulkRun:
    return _by_pipeline(job, 1)


def _workers(job: _Job) -> BulkRun:
    return _by_pipeline(job, job.settings.workers)


def _by_pipeline(job: _Job, workers: int) -> BulkRun:
    threads = max(1, job.settings.threads // workers)
    source = Source.of(job.settings.bundle, "onnxruntime", threads=threads)
    with Pipeline(source, FileScoring(job.reading), PipelineConfig(workers)) as pipeline:
        _ = [*pipeline.score_rows(_rows(_warm_up() * workers))]
        before = pipeline.usage.engine_seconds
        begin = time.perf_counter()
        results = [json.loads(result.text) for result in pipeline.score_rows(_rows(job.lines))]
        seconds = time.perf_counter() - begin
        busy = (pipeline.usage.engine_seconds - before) / seconds / workers
    if wrong := next((one for one in results if "error" in one), None):
        raise BenchError(f"Request {wrong['line']} fails: {wrong['error']['message']}")
    return BulkRun(seconds, busy, [tuple(one["scores"]) for one in results])


def _rows(lines: Sequence[bytes]) -> Iterator[ShardRow]:
    for number, line in enumerate(lines, 1):
        yield ShardRow(number, hashlib.sha256(line).hexdigest()[:16], line)


def _pytorch(job: _Job) -> BulkRun:
    import torch

    from yoj.export.checkpoint.checkpoint import Checkpoint
    from yoj.export.families.opening import open_family

    from ._pytorch import Backbone

    assert job.settings.checkpoint is not None
    torch.set_num_threads(job.settings.threads)
    with Scorer.load(job.settings.bundle, engine="onnxruntime", threads=1) as scorer, torch.inference_mode():
        checkpoint = Checkpoint.open([job.settings.checkpoint])
        family = open_family(checkpoint)
        stock = family.stock_model()
        if stock is None:
            raise BenchError(f"transformers has no {checkpoint.family}. Run: pip install 'yoj[export]' -U")
        model = Backbone(checkpoint, scorer.family, stock, family)

        def score(batch: Sequence[bytes]) -> tuple[list[tuple[float, ...]], float]:
            prepared = [scorer.prepare(request) for request in job.requests(batch)]
            begin = time.perf_counter()
            scores = model.ragged(prepared)
            seconds = time.perf_counter() - begin
            return [tuple(scores_N.tolist()) for scores_N in scores], seconds

        score(_warm_up())
        begin = time.perf_counter()
        scored = [score(batch) for batch in _cut(job.lines, TOGETHER)]
        seconds = time.perf_counter() - begin
        busy = sum(of_model for _, of_model in scored) / seconds
        return BulkRun(seconds, busy, [one for scores, _ in scored for one in scores])


def _warm_up() -> list[bytes]:
    """Requests of text alone: the features of a picture of the file would be in a cache afterwards."""
    return [json.dumps(one).encode() for one in made_requests(WARM_UP, LONGEST)]


def _cut(lines: Sequence[bytes], together: int) -> Iterator[Sequence[bytes]]:
    for begin in range(0, len(lines), together):
        yield lines[begin : begin + together]


def table(found: dict[str, Any]) -> str:
    """Figures as text."""
    lines = [f"{'variant':24}requests/s   busy   peak MB   difference"]
    lines += [
        f"{name:24}{of['requests_per_s']:10.2f}{of['busy']:7.1%}{of['peak_bytes'] / 1e6:10.0f}{of['difference']:13.1e}"
        for name, of in found["variants"].items()
    ]
    return "\n".join(lines)
