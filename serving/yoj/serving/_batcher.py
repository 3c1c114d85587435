"""Batcher: prepared requests in, judgements out, through one bounded queue.

Requests are decoded and packed by threads of the intake, which put them into the queue; a thread of the engine takes
what waits there. The event loop only waits: what it adds to a request alone, two changes of threads, was measured.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from yoj.runtime import Judgement, Prepared, Request, Scorer, YojError

from ._errors import DeadlineError, DrainingError, OverloadedError
from ._metrics import Metrics
from ._settings import QueueSettings
from ._tracing import record

T = TypeVar("T")
PADDING = 0.05
"""Most padding of a batch, in parts of its tokens. On a CPU a large batch gains less than this much padding costs."""
Given: TypeAlias = Sequence[Request | YojError]


@dataclass(eq=False)
class _Caller:
    """Caller who waits for judgements."""

    deadline: float
    """Time of `time.monotonic` at which its requests are given up."""
    places: int = 0
    """Places that its requests took beyond the one that it has."""
    gone: bool = False
    """Whether it does not wait any more."""


@dataclass(eq=False)
class _Waiting:
    """Request in the queue."""

    prepared: Prepared
    caller: _Caller
    result: Future[Judgement] = field(default_factory=Future[Judgement])
    since: float = field(default_factory=time.monotonic)
    times: list[int] = field(default_factory=list[int])
    """Nanoseconds since 1970: begun to be prepared, in the queue, taken from it, scored."""
    rows: int = 0
    """Rows of its batch."""


Entry: TypeAlias = "_Waiting | YojError"


class Batcher:
    """Queue of requests, and the threads that fill and empty it."""

    def __init__(self, scorer: Scorer, settings: QueueSettings, metrics: Metrics):
        self._scorer = scorer
        self._settings = settings
        self._metrics = metrics
        self._intake: ThreadPoolExecutor
        self._engines: list[threading.Thread]
        self._changed = threading.Condition()  # what follows is read and written under it
        self._queue: deque[_Waiting] = deque()
        self._taken = 0
        self._preparing = 0
        self._seconds = 0.0  # a running mean of what one request takes of the engine
        self._open = False
        self._ended = False

    def start(self) -> None:
        """Start to score, and accept requests."""
        self._intake = ThreadPoolExecutor(self._settings.intake_threads, "yoj-intake")
        self._engines = [
            threading.Thread(target=self._run, name=f"yoj-engine-{k}", daemon=True) for k in range(self._settings.runs)
        ]
        self._ended, self._open = False, True
        for thread in self._engines:
            thread.start()

    async def stop(self) -> None:
        """Refuse new requests, answer those that are here, and end the threads."""
        self._open = False
        while self._taken:
            await asyncio.sleep(0.01)
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        # What is still being prepared is for callers who have gone.
        self._intake.shutdown(wait=False, cancel_futures=True)
        for thread in self._engines:
            await asyncio.to_thread(thread.join)

    @property
    def accepts(self) -> bool:
        """Whether requests are accepted."""
        return self._open

    def check_room(self, count: int = 1) -> None:
        """Refuse requests for which there are no places.

        Raises:
            OverloadedError: there are not so many places.
            DrainingError: the server is shutting down.
        """
        if not self._open:
            raise DrainingError("The server is shutting down or not ready yet. Ask another one, or try again later.", 5)
        self._check_places(count)

    def _check_places(self, count: int) -> None:
        if self._taken + count > self._settings.max_queue:
            wait = self._taken * self._seconds / self._settings.runs
            raise OverloadedError(
                f"{self._taken} requests are in the server, which takes {self._settings.max_queue} at once; there is "
                f"no place for {count} more. Try again later.",
                max(1, min(60, math.ceil(wait))),
            )

    def admit(self, count: int = 1) -> None:
        """Take places for requests, which `release` gives back; see `check_room`."""
        with self._changed:
            self.check_room(count)
            self._take(count)

    def release(self, count: int = 1) -> None:
        """Give back places."""
        with self._changed:
            self._take(-count)

    def _take(self, count: int) -> None:
        self._taken += count
        self._metrics.in_server.set(self._taken)

    async def judge(self, read: Callable[[], tuple[T, Given]], deadline: float) -> tuple[T, list[Judgement | YojError]]:
        """Read, prepare and score requests.

        Args:
            read: function that decodes the requests of a caller who has one place, in a thread. For more than one,
                places are taken; each is prepared for itself, so that others come in between, and fails alone.
            deadline: time of `time.monotonic` at which they are given up.

        Returns:
            What ``read`` returned beside the requests; a judgement or an error for each.

        Raises:
            OverloadedError: there are not so many places.
            DeadlineError: they were not even read in time.
            YojError: ``read`` failed.
        """
        caller = _Caller(deadline)
        try:
            beside, entries = await self.in_time(self._take_in(self._read, read, caller), deadline)
            return beside, [await self._result(one, caller) for one in entries]
        finally:
            with self._changed:
                caller.gone = True
                self.release(caller.places)

    async def judge_promised(self, requests: Sequence[Request], deadline: float) -> list[Judgement | YojError]:
        """Score requests whose callers were promised an answer: they take places, over the limit where there are none.

        Args:
            requests: the requests.
            deadline: time of `time.monotonic` at which they are given up.
        """
        caller = _Caller(deadline, places=len(requests))
        with self._changed:
            self._take(caller.places)
        try:
            entries = [self._take_in(self._prepare, one, caller) for one in requests]
            return [await self._result(one, caller) for one in entries]
        finally:
            with self._changed:
                caller.gone = True
                self.release(caller.places)

    def _take_in(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Call a function in a thread of the intake; batches wait a moment for what it puts into the queue."""
        with self._changed:
            self._preparing += 1
        future = self._intake.submit(function, *arguments)
        future.add_done_callback(self._taken_in)
        return future

    def _taken_in(self, _: object) -> None:
        with self._changed:
            self._preparing -= 1
            self._changed.notify_all()

    def _read(self, read: Callable[[], tuple[T, Given]], caller: _Caller) -> tuple[T, list[Entry | Future[Entry]]]:
        beside, requests = read()
        with self._changed:
            if not caller.gone:
                # Its caller was admitted, so that what it brings is answered while the server is shutting down too.
                self._check_places(len(requests) - 1)
                self._take(len(requests) - 1)
                caller.places = len(requests) - 1
        if len(requests) == 1:
            return beside, [self._prepare(requests[0], caller)]
        return beside, [self._take_in(self._prepare, one, caller) for one in requests]

    def _prepare(self, request: Request | YojError, caller: _Caller) -> Entry:
        """Put a request into the queue, or say why it is not there."""
        if isinstance(request, YojError):
            return request
        if caller.gone or time.monotonic() > caller.deadline:
            return self._late()
        begin = time.time_ns()
        try:
            one = _Waiting(self._scorer.prepare(request), caller)
        except YojError as error:
            return error
        one.times += (begin, time.time_ns())
        with self._changed:
            self._queue.append(one)
        return one

    async def _result(self, entry: Entry | Future[Entry], caller: _Caller) -> Judgement | YojError:
        try:
            one = await self.in_time(entry, caller.deadline) if isinstance(entry, Future) else entry
            if isinstance(one, YojError):
                return one
            judgement = await self.in_time(one.result, caller.deadline)
        except YojError as error:
            return error
        about = {"yoj.tokens": one.prepared.tokens, "yoj.responses": len(judgement.scores), "yoj.batch_rows": one.rows}
        for name, begin, end in zip(("prepare", "queue", "engine"), one.times, one.times[1:], strict=False):
            record(name, begin, end, about)
        return judgement

    async def in_time(self, future: Future[T], deadline: float) -> T:
        """Wait for what a thread does, until the caller's time is over.

        Args:
            future: result of the thread; where its function has not begun by then, it never is.
            deadline: time of `time.monotonic`.

        Raises:
            DeadlineError: it is.
        """
        if future.done():  # of a batch one may have used all of the time, and the others are there
            return future.result()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise self._late() from error

    def _late(self) -> DeadlineError:
        return DeadlineError(
            f"The request was not scored within its time; {len(self._queue)} requests are waiting. Try again later."
        )

    def _run(self) -> None:
        """Score what waits, in a thread of the engine, until the end."""
        while batch := self._next_batch():
            begin, rows = time.monotonic(), sum(len(one.prepared.packs) for one in batch)
            self._metrics.batch([one.prepared for one in batch], [begin - one.since for one in batch])
            for one in batch:
                one.times.append(time.time_ns())
                one.rows = rows
            try:
                results = self._scorer.score_prepared([one.prepared for one in batch], on_error="return")
            except Exception as error:  # a fault of ours must not end this thread, which serves everybody
                results = [error] * len(batch)
            for one, result in zip(batch, results, strict=True):
                one.times.append(time.time_ns())
                if isinstance(result, Judgement):
                    one.result.set_result(result)
                else:
                    one.result.set_exception(result)
            self._learn((time.monotonic() - begin) / len(batch))

    def _learn(self, seconds: float) -> None:
        self._seconds = seconds if not self._seconds else 0.9 * self._seconds + 0.1 * seconds

    def _next_batch(self) -> list[_Waiting]:
        """The oldest request, with others of its mode and of a length like its own; none at the end."""
        with self._changed:
            while not self._ended:
                self._forget_gone()
                if not self._queue:
                    self._changed.wait()
                    continue
                left = self._queue[0].since + self._settings.max_delay - time.monotonic()
                if self._preparing and left > 0 and not self._is_full():
                    self._changed.wait(left)
                    continue
                if batch := [one for one in self._take_batch() if one.result.set_running_or_notify_cancel()]:
                    return batch
            return []

    def _is_full(self) -> bool:
        return sum(one.prepared.tokens * len(one.prepared.packs) for one in self._queue) >= self._settings.batch_tokens

    def _take_batch(self) -> list[_Waiting]:
        mode = self._queue[0].prepared.mode
        alike = [one for one in self._queue if one.prepared.mode == mode]
        rows = [(one.prepared.tokens, len(one.prepared.packs)) for one in alike]
        taken = [alike[k] for k in like_the_first(rows, self._settings.batch_tokens)]
        for one in taken:
            self._queue.remove(one)
        self._metrics.queued.set(len(self._queue))
        return taken

    def _forget_gone(self) -> None:
        now = time.monotonic()
        self._queue = deque(one for one in self._queue if not one.caller.gone and one.caller.deadline > now)
        self._metrics.queued.set(len(self._queue))


def like_the_first(rows: Sequence[tuple[int, int]], tokens: int) -> list[int]:
    """Indices of the first request and of those that are scored with it: as many of a like length as fit.

    Args:
        rows: tokens of the longest row, and number of rows, of each request.
        tokens: most tokens of the batch, padding included; the first may have more.
    """
    order = sorted(range(len(rows)), key=lambda k: rows[k][0])
    low = high = order.index(0)
    used, count = rows[0][0] * rows[0][1], rows[0][1]
    while neighbours := [place for place in (low - 1, high + 1) if 0 <= place < len(order)]:
        # The nearer one in length adds less padding.
        place = min(neighbours, key=lambda place: abs(rows[order[place]][0] - rows[0][0]))
        length, number = rows[order[place]]
        longest = rows[order[max(high, place)]][0]
        padded = longest * (count + number)
        if padded > tokens or used + length * number < (1 - PADDING) * padded:
            break
        low, high = min(low, place), max(high, place)
        used, count = used + length * number, count + number
    return [order[place] for place in range(low, high + 1)]
