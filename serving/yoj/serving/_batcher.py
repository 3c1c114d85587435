"""Batcher: prepared requests in, judgements out, through one bounded queue. It lives in one event loop."""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from yoj.runtime import Judgement, Prepared, Scorer
from yoj.runtime.batch import batches_by_length

from ._errors import DeadlineError, DrainingError, OverloadedError
from ._metrics import Metrics
from ._settings import QueueSettings
from ._tracing import record

T = TypeVar("T")


@dataclass(eq=False)
class _Waiting:
    """Request in the queue."""

    prepared: Prepared
    deadline: float
    """Time of `time.monotonic` at which the request is given up."""
    result: asyncio.Future[Judgement]
    since: float = field(default_factory=time.monotonic)
    times: list[int] = field(default_factory=lambda: [time.time_ns()])
    """Nanoseconds since 1970: in the queue, taken from it, scored."""
    rows: int = 0
    """Rows of its batch."""


class Batcher:
    """Queue of requests and the tasks that score them. Every method is called in the event loop that started it."""

    def __init__(self, scorer: Scorer, settings: QueueSettings, metrics: Metrics):
        self._scorer = scorer
        self._settings = settings
        self._metrics = metrics
        self._intake = ThreadPoolExecutor(settings.intake_threads, "yoj-intake")
        self._engine = ThreadPoolExecutor(settings.runs, "yoj-engine")
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._taken = 0
        self._preparing = 0
        self._seconds = 0.0  # a running mean of what one request takes of the engine
        self._open = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start to score, and accept requests."""
        self._open = True
        self._tasks = [asyncio.create_task(self._run()) for _ in range(self._settings.runs)]

    async def stop(self) -> None:
        """Refuse new requests, answer those that are here, and end the threads."""
        self._open = False
        while self._taken:
            await asyncio.sleep(0.01)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._intake.shutdown()
        self._engine.shutdown()

    @property
    def accepts(self) -> bool:
        """Whether requests are accepted."""
        return self._open

    def admit(self, count: int = 1) -> None:
        """Take places for requests, which `release` gives back.

        Raises:
            OverloadedError: there are not so many places.
            DrainingError: the server is shutting down.
        """
        if not self._open:
            raise DrainingError("The server is shutting down or not ready yet. Ask another one, or try again later.", 5)
        if self._taken + count > self._settings.max_queue:
            wait = self._taken * self._seconds / self._settings.runs
            raise OverloadedError(
                f"{self._taken} requests are in the server, which takes {self._settings.max_queue} at once; there is "
                f"no place for {count} more. Try again later.",
                max(1, min(60, math.ceil(wait))),
            )
        self._taken += count
        self._metrics.in_server.set(self._taken)

    def release(self, count: int = 1) -> None:
        """Give back places."""
        self._taken -= count
        self._metrics.in_server.set(self._taken)

    async def prepare(self, read: Callable[[], T]) -> T:
        """Run a function that decodes and prepares requests in a thread; batches wait a moment for what it returns."""
        self._preparing += 1
        begin = time.time_ns()
        try:
            return await in_thread(self._intake, read)
        finally:
            self._preparing -= 1
            self._arrived.set()  # whoever waits for what is being prepared looks again
            record("prepare", begin, time.time_ns(), {})

    async def score(self, prepared: Prepared, deadline: float) -> Judgement:
        """Score one request. If the caller is cancelled the request leaves the queue.

        Args:
            prepared: the request.
            deadline: time of `time.monotonic` at which it is given up.

        Raises:
            DeadlineError: it was not scored in time.
            YojError: the engine failed.
        """
        one = _Waiting(prepared, deadline, asyncio.get_running_loop().create_future())
        self._queue.append(one)
        self._arrived.set()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                judgement = await one.result
        except TimeoutError as error:
            raise DeadlineError(
                f"The request was not scored within its time; {len(self._queue)} requests are waiting. Try again later."
            ) from error
        about = {"yoj.tokens": prepared.tokens, "yoj.responses": len(judgement.scores), "yoj.batch_rows": one.rows}
        for name, begin, end in zip(("queue", "engine"), one.times, one.times[1:], strict=False):
            record(name, begin, end, about)
        return judgement

    async def _run(self) -> None:
        while True:
            batch = await self._next_batch()
            begin = time.monotonic()
            rows = sum(len(one.prepared.packs) for one in batch)
            for one in batch:
                one.times.append(time.time_ns())
                one.rows = rows
                self._metrics.phase.labels("queue").observe(begin - one.since)
            self._metrics.batch([one.prepared for one in batch])
            try:
                results = await in_thread(self._engine, functools.partial(self._score, batch))
            except Exception as error:  # a fault of ours must not end this task, which serves everybody
                results = [error] * len(batch)
            self._learn((time.monotonic() - begin) / len(batch))
            for one, result in zip(batch, results, strict=True):
                one.times.append(time.time_ns())
                if one.result.done():  # its caller has gone
                    continue
                if isinstance(result, Judgement):
                    one.result.set_result(result)
                else:
                    one.result.set_exception(result)

    def _score(self, batch: Sequence[_Waiting]) -> Sequence[Judgement | Exception]:
        return self._scorer.score_prepared([one.prepared for one in batch], on_error="return")

    def _learn(self, seconds: float) -> None:
        self._seconds = seconds if not self._seconds else 0.9 * self._seconds + 0.1 * seconds

    async def _next_batch(self) -> list[_Waiting]:
        """The oldest request, with others of its mode and of a length like its own."""
        while True:
            self._forget_gone()
            if not self._queue:
                await self._next_arrival(None)
                continue
            left = self._queue[0].since + self._settings.max_delay - time.monotonic()
            if self._preparing and left > 0 and not self._is_full():
                await self._next_arrival(left)
                continue
            return self._take()

    async def _next_arrival(self, seconds: float | None) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            pass

    def _is_full(self) -> bool:
        return sum(_size(one.prepared) for one in self._queue) >= self._settings.batch_tokens

    def _take(self) -> list[_Waiting]:
        mode = self._queue[0].prepared.mode
        alike = [one for one in self._queue if one.prepared.mode == mode]
        groups = batches_by_length(
            [one.prepared.tokens for one in alike],
            [len(one.prepared.packs) for one in alike],
            self._settings.batch_tokens,
        )
        taken = [alike[k] for k in next(group for group in groups if 0 in group)]
        for one in taken:
            self._queue.remove(one)
        self._metrics.queued.set(len(self._queue))
        return taken

    def _forget_gone(self) -> None:
        now = time.monotonic()
        self._queue = deque(one for one in self._queue if not one.result.done() and one.deadline > now)
        self._metrics.queued.set(len(self._queue))


def _size(prepared: Prepared) -> int:
    return prepared.tokens * len(prepared.packs)


async def in_thread(pool: Executor, function: Callable[[], T]) -> T:
    """Run a function in a thread of a pool. One that has not begun is never run when its caller is cancelled."""
    return await asyncio.get_running_loop().run_in_executor(pool, function)
