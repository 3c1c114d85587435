"""Process that runs the engine: while one batch is in it, another thread makes the next ready and judges the last."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .._jsonl import FileScoring, Result, check_settings, explain, find_best, run_digest
from .._scorer import Scorer
from .._source import Preparing, Source, preparing
from ..engines import ENGINES
from ..engines.metered import MeteredSession
from ..families import Arrays, PreparedMedia
from ..lines import Entry
from ..manifest import MANIFEST_NAME, EngineEntry, Manifest, decode
from ..request import Request
from ._children import Worker
from ._pool import Outcomes
from ._preparation import Scorable
from ._rows import RowResult

RUNS_ON_A_GPU = 2
"""Runs at once on a GPU, so that one copies while another computes. On a CPU each takes all cores."""
SWITCH_SECONDS = 0.0005
"""Longest time for which a thread that waits for the interpreter, often to start the engine again, is kept waiting."""


@dataclass(frozen=True)
class EngineSetup:
    """Setup of a process that runs the engine."""

    source: Source
    settings: FileScoring
    number: int
    """Place among the processes, from 0."""
    workers: int
    """Number of processes."""


@dataclass(frozen=True)
class LoadedEngine:
    """Message of a process that has loaded the engine."""

    manifest: Manifest
    engine: EngineEntry
    """Entry of the manifest that is loaded."""
    run: str
    """Digest of the run's settings."""
    preparing: Preparing


class OnceScorer(Scorer):
    """Scorer that never encodes one medium in two threads at once: the second finds it in the cache."""

    _encoding = threading.Lock()

    def _features(self, media: Mapping[bytes, PreparedMedia]) -> dict[bytes, Arrays]:
        if not media:
            return {}
        with self._encoding:
            return super()._features(media)


def open_engine(setup: EngineSetup) -> Worker:
    """Load the engine of a bundle.

    Raises:
        YojError: see `Scorer.load`; or rationales are wanted, which the bundle or the engine does not write.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    engine = setup.source.engine or decode_engine(setup.source.path)
    gpu = engine in ENGINES and ENGINES[engine].gpu
    source = setup.source
    if gpu and (devices := visible_devices()):
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[setup.number % len(devices)]
    elif not gpu and source.threads is None and setup.workers > 1:
        source = replace(source, threads=max(1, (os.cpu_count() or 1) // setup.workers))
    opened = source.open()
    at_once = RUNS_ON_A_GPU if gpu else 1
    session = MeteredSession(opened.session, at_once)
    scorer = OnceScorer(opened.bundle, opened.engine, session, opened.preparer)
    check_settings(scorer.manifest, scorer.engine, setup.settings)
    run = run_digest(scorer.manifest, scorer.engine, setup.settings)
    without_engine = preparing(opened.bundle, opened.engine, source.max_pixels)
    told = LoadedEngine(scorer.manifest, scorer.engine, run, without_engine)
    return Worker(told, _Scoring(scorer, session, setup.settings, run).work, at_once + 1)


def decode_engine(bundle: Path) -> str:
    """Name of the first engine of a bundle that nothing else is known of; empty where it cannot be read.

    What is wrong with the bundle is told when it is opened.
    """
    try:
        return decode((bundle / MANIFEST_NAME).read_bytes(), MANIFEST_NAME).engines[0].engine
    except (OSError, ValueError, IndexError):
        return ""


def visible_devices() -> list[str]:
    """GPUs that CUDA may use, as ``CUDA_VISIBLE_DEVICES`` names them; empty where the system does not say."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


class _Scoring:
    def __init__(self, scorer: Scorer, session: MeteredSession, settings: FileScoring, run: str):
        self._scorer, self._session, self._settings, self._run = scorer, session, settings, run

    def work(self, rows: Mapping[int, tuple[Entry, bytes]]) -> Iterator[Outcomes]:
        """Score a batch."""
        batch: list[Scorable] = [pickle.loads(content) for _, content in rows.values()]
        results = self._results(batch)
        finished = [
            self._finish(entry, one, result)
            for (entry, _), one, result in zip(rows.values(), batch, results, strict=True)
        ]
        yield Outcomes(dict(zip(rows, finished, strict=True)), self._session.take_seconds())

    def _results(self, batch: Sequence[Scorable]) -> list[Result]:
        """Judgement or error of each row. An error of one does not touch the others."""
        prepared = [one.prepared for one in batch if one.prepared is not None]
        try:
            if len(prepared) == len(batch):
                return [*self._scorer.score_prepared(prepared, on_error="return")]
            return [find_best(self._scorer, _request(one), self._settings.mode) for one in batch]
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [result for one in batch for result in self._results([one])]

    def _finish(self, entry: Entry, one: Scorable, result: Result) -> RowResult:
        more = {}
        if self._settings.rationale is not None:
            try:
                whole = replace(entry, request=_request(one))
                result, more = explain(self._scorer, whole, result, self._settings.rationale)
            except Exception as error:
                result = error
        return RowResult.of(entry, self._run, result, more)


def _request(one: Scorable) -> Request:
    assert one.request is not None
    return one.request
