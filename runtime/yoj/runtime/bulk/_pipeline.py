"""Pipeline: rows in, results in their order out, by processes that prepare and processes that run the engine.

This process reads the rows and hands on what others have made; no thread runs in it. A process that ends is replaced,
and what it left undone is done again, so that each row has one result, whatever ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, Self, cast

from .._jsonl import FileScoring
from .._source import Source
from ..batch import BATCH_TOKENS
from ..engines import ENGINES
from ..errors import BundleError, EngineError, RequestError
from ..lines import Entry
from ._engine import RUNS_ON_A_GPU, EngineSetup, LoadedEngine, open_engine
from ._look_ahead import LookAhead, Room
from ._pool import GivenUp, Kind, Pool
from ._preparation import GivenBack, PreparationSetup, Ready, open_preparation
from ._rows import RowResult, ShardRow

WINDOW_ROWS = 512
WINDOW_BYTES = 256 * 2**20
CPU_BATCH_TOKENS = 2048
"""Tokens of a batch on a CPU, where the values of larger ones leave the caches; measured with 3 and 36 layers."""
PREPARER_TASKS = 2
"""Tasks that a process that prepares has at once, one of which waits in it."""


@dataclass(frozen=True)
class PipelineConfig:
    """Sizes of a pipeline."""

    workers: int = 1
    """Processes that run the engine. On a CPU they share the cores; on GPUs each takes the next of them."""
    preparers: int | None = None
    """Processes that prepare rows; None for as many as there are cores. They rest while the engine has enough."""
    window_rows: int = WINDOW_ROWS
    """Most rows of a window, over which batches are formed; two windows are held at once."""
    window_bytes: int = WINDOW_BYTES
    """Bytes of prepared rows after which a window ends."""

    def __post_init__(self) -> None:
        for name in ("workers", "preparers", "window_rows", "window_bytes"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise RequestError(f"{name} is {value!r}; give a number from 1.")


@dataclass
class Usage:
    """Rows and time of a pipeline since it was opened."""

    workers: int
    rows: int = 0
    """Rows whose results were returned."""
    tokens: int = 0
    """Tokens of the rows that were scored, without padding."""
    seconds: float = 0.0
    """Seconds between the first row and the last result of each `Pipeline.score_rows`."""
    engine_seconds: float = 0.0
    """Seconds in which the engine ran, of all its processes together."""
    restarts: int = 0
    """Processes that ended and were replaced."""

    @property
    def busy(self) -> float:
        """Share of the time in which the engine ran, from 0 to 1."""
        return self.engine_seconds / (self.seconds * self.workers) if self.seconds else 0.0


class Pipeline:
    """Processes of one bundle that score rows with one set of settings, as a context manager.

    >>> with Pipeline(Source.of("judge.yoj"), settings, PipelineConfig()) as pipeline:
    ...     for result in pipeline.score_rows(rows):
    ...         file.write(result.text)
    """

    def __init__(self, source: Source, settings: FileScoring, config: PipelineConfig | None = None):
        """Take the arguments; nothing is started before the ``with`` block.

        Args:
            source: arguments with which a scorer would be loaded.
            settings: settings of the run; ``together`` is not looked at, since batches are formed by length.
            config: sizes; None for the defaults.
        """
        self.usage = Usage((config or PipelineConfig()).workers)
        """Rows and time so far."""
        self._source, self._settings, self._config = source, settings, config or PipelineConfig()
        self._opened: _Pools | None = None
        self._current: LookAhead | None = None

    def __enter__(self) -> Self:
        """Start the processes and load the engines.

        Raises:
            YojError: see `yoj.runtime.Scorer.load`; or rationales are wanted, which the bundle or engine has not.
        """
        self._opened = _Pools(self._config)
        try:
            self._opened.load(self._source, self._settings)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def loaded(self) -> LoadedEngine:
        """Manifest of the bundle, the engine's entry in it, and the digest of the run's settings.

        Raises:
            EngineError: the pipeline is not open.
        """
        return self._pools.loaded

    def score_rows(self, rows: Iterable[ShardRow | None]) -> Iterator[RowResult]:
        """Score rows; one result for each comes in their order.

        Rows are read and results are taken while the caller asks for the next, so that the processes run out of work
        where it takes long to ask. An iteration that is begun ends one that was not finished.

        Args:
            rows: rows, which are read in this process, as far ahead as two windows; where None stands, a window ends.

        Raises:
            YojError: processes end again and again, or the bundle was replaced meanwhile.
            EngineError: the pipeline is not open.
        """
        pools, config = self._pools, self._config
        ahead = self._current = LookAhead(iter(rows), Room(config.window_rows, config.window_bytes, pools.batch_tokens))
        pools.forget()
        begin = time.perf_counter()
        while True:
            pools.hand_out(ahead)
            before = ahead.returned
            for result in ahead.due():
                begin = self._count(begin, pools)
                self.usage.rows += 1
                yield result
                if self._current is not ahead:
                    raise EngineError("Rows of another iteration are scored with this pipeline. Finish one first.")
            begin = self._count(begin, pools)
            if ahead.done:
                return
            if ahead.returned == before:  # else there is room for more rows
                self._take(pools, ahead)

    @property
    def _pools(self) -> _Pools:
        if self._opened is None:
            raise EngineError("The pipeline is not open. Score rows inside its with block.")
        return self._opened

    def _count(self, begin: float, pools: _Pools) -> float:
        now = time.perf_counter()
        self.usage.seconds += now - begin
        self.usage.restarts = pools.preparers.restarts + pools.engines.restarts
        return now

    def _take(self, pools: _Pools, ahead: LookAhead) -> None:
        """Take what the processes have ready, and wait for something if they have nothing."""
        for connection in pools.wait():
            if (answer := pools.of_preparation(connection)) is not None:
                for position, row, outcome in answer:
                    self._put_prepared(ahead, position, row, outcome)
                continue
            scored, seconds = pools.engines.receive(connection)
            self.usage.engine_seconds += seconds
            for position, ready, outcome in scored:
                if isinstance(outcome, GivenUp):
                    outcome = self._give_up(ready.entry, "scored", outcome)
                self.usage.tokens += ready.tokens
                ahead.put_scored(position, ready, outcome)

    def _put_prepared(self, ahead: LookAhead, position: int, row: ShardRow, outcome: Any) -> None:
        if isinstance(outcome, GivenBack):
            ahead.put_back(position, row)
        elif isinstance(outcome, Ready):
            ahead.put_prepared(position, outcome)
        else:
            if isinstance(outcome, GivenUp):
                outcome = self._give_up(Entry(row.number, row.digest, RequestError()), "prepared", outcome)
            ahead.put_error(position, outcome)

    def _give_up(self, entry: Entry, what: str, outcome: GivenUp) -> RowResult:
        """Result of a row that ended two processes."""
        error = EngineError(
            f"Two processes in which this row was {what}, and nothing else, ended with {outcome.how}"
            f"{'' if outcome.how != 'SIGKILL' else ', which is mostly for want of memory'}. Give it smaller media or "
            "less text, or score it on a machine with more memory; failed rows are tried again."
        )
        return RowResult.of(entry, self.loaded.run, error)


class _Pools:
    """Processes of a pipeline."""

    def __init__(self, config: PipelineConfig):
        """Start the processes."""
        engine = Kind[Ready]("yoj-engine", open_engine, RUNS_ON_A_GPU + 2, lambda ready: (ready.entry, ready.content))
        preparation = Kind[ShardRow]("yoj-prepare", open_preparation, PREPARER_TASKS, lambda row: row)
        self._config = config
        self.engines = Pool(engine, config.workers)
        self.preparers = Pool(preparation, config.preparers or max(config.workers, available_cores()))

    @property
    def loaded(self) -> LoadedEngine:
        """Message of the first process that loaded the engine."""
        return self.engines.told[0]

    @property
    def batch_tokens(self) -> int:
        """Tokens of a batch."""
        return BATCH_TOKENS if ENGINES[self.loaded.engine.engine].gpu else CPU_BATCH_TOKENS

    def load(self, source: Source, settings: FileScoring) -> None:
        """Load the engines, and let the others open what preparing takes."""
        workers = self._config.workers
        self.engines.setup([EngineSetup(source, settings, number, workers) for number in range(workers)])
        while not self.engines.ready:
            for connection in cast("list[Connection]", wait(self.engines.connections)):
                self.engines.receive(connection)
        loaded = self.loaded
        if any(other.manifest.digest != loaded.manifest.digest for other in self.engines.told):
            raise BundleError(f"{source.path} was replaced while it was loaded. Load it again.")
        # What is started later must load the same bundle.
        source = replace(source, digest=loaded.manifest.digest)
        self.engines.renew([EngineSetup(source, settings, number, workers) for number in range(workers)])
        self.preparers.setup([PreparationSetup(loaded.preparing, settings, loaded.run)] * self.preparers.size)

    def hand_out(self, ahead: LookAhead) -> None:
        """Give every process what it has room for."""
        while self.preparers.has_room() and (rows := ahead.next_chunk(self.preparers.rows_out)):
            self.preparers.give(rows)
        while self.engines.has_room() and (batch := ahead.next_batch()):
            self.engines.give(batch)

    def wait(self) -> list[Connection]:
        """Wait until processes have something to say, or have ended."""
        return cast("list[Connection]", wait([*self.preparers.connections, *self.engines.connections]))

    def of_preparation(self, connection: Connection) -> list[tuple[int, ShardRow, Any]] | None:
        """Take the message of a process that prepares; None where this is another's connection."""
        return self.preparers.receive(connection)[0] if connection in self.preparers.connections else None

    def forget(self) -> None:
        """Forget the rows of an iteration that was not finished."""
        self.preparers.forget()
        self.engines.forget()

    def close(self) -> None:
        """End all processes."""
        self.engines.close()
        self.preparers.close()


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
