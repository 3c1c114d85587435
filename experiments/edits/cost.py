"""N edits of a source in one joint pack, isolated in one pack, and in N passes: time, and how often they are right."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from yoj.runtime import Request, Scorer
from yoj.runtime.machine import instruction_sets

from ..any_n.figures import mean
from ..any_n.judges import CACHE_BYTES
from ..any_n.results import Record, Results
from .dataset import make_item
from .drawing import Drawing
from .grades import BANDS
from .items import EditItem, N
from .loop import request_of

SIZES = (2, 4, 8, 16)
ITEMS, TIMED, REPEATS = 500, 10, 3
"""Items to be right about, requests that are timed at each N, and times that each is."""


def costs(bundle: Path, file: Path, note: Callable[[str], None]) -> None:
    """Measure a bundle on one thread and add the figures to a file, unless they are there."""
    with Scorer.load(bundle, threads=1) as scorer:
        results = Results(file, {"bundle": scorer.manifest.digest, "instruction_sets": list(instruction_sets())})
        for name, read in WAYS.items():
            for n in SIZES:
                if results.add({"way": name, "n": n}, lambda read=read, n=n: measure(scorer, read, n)):
                    note(f"{name}, N={n}")


def measure(scorer: Scorer, read: Callable[[Scorer, Request], list[float]], n: int) -> Record:
    """Figures of one way to read N edits: times, and at the task's own N how often the right edit is first."""
    milliseconds: list[float] = []
    for request in [_request(index, n) for index in range(TIMED)]:
        for _ in range(REPEATS):
            _forget(scorer)
            begin = time.perf_counter()
            read(scorer, request)
            milliseconds.append((time.perf_counter() - begin) * 1e3)
    record: Record = {"milliseconds": statistics.median(milliseconds)}
    if n == N:
        items = [make_item("held_out", 0, index) for index in range(ITEMS)]
        record["best_of_4"] = mean([_right(item, read(scorer, request_of(item, item.results))) for item in items])
    return record


def _joint(scorer: Scorer, request: Request) -> list[float]:
    return list(scorer.score_batch([request], mode="joint")[0].scores)


def _isolated(scorer: Scorer, request: Request) -> list[float]:
    return list(scorer.score_batch([request], mode="isolated")[0].scores)


def _alone(scorer: Scorer, request: Request) -> list[float]:
    """Scores from a pass for each edit, each of which reads the source again."""
    found: list[float] = []
    for response in request.responses:
        _forget(scorer)
        found.append(scorer.score(request.prompt, [response], mode="joint").scores[0])
    return found


WAYS: dict[str, Callable[[Scorer, Request], list[float]]] = {
    "joint pack": _joint,
    "isolated in one pack": _isolated,
    "N passes": _alone,
}
"""Name of a way to read N edits -> function that gives their scores."""


def _forget(scorer: Scorer) -> None:
    """Let every picture be read again."""
    scorer.cache = type(scorer.cache)(CACHE_BYTES)


def _request(index: int, n: int) -> Request:
    """Request with N different pictures as edits of one source."""
    item = make_item("timed", 0, index * n)
    more = [edit for k in range(n) for edit in make_item("timed", 1, index * n + k).results]
    return request_of(item, _distinct([*item.results, *more])[:n])


def _distinct(edits: Sequence[Drawing]) -> list[Drawing]:
    return list(dict.fromkeys(edits))


def _right(item: EditItem, scores: Sequence[float]) -> float:
    return float(item.grades()[int(np.argmax(scores))].overall == 2 * BANDS)
