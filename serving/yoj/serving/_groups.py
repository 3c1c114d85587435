"""Groups: samples that callers send one by one meet here, and are scored like a request of ``/v1/judge``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Literal

from starlette.requests import Request

from yoj.integrations import GroupReward, GroupSample, MeetingError, MeetingPoint, MeetingSettings
from yoj.runtime import Judgement, YojError
from yoj.runtime import Request as ScoringRequest

from ._batcher import Batcher
from ._body import Bodies, seconds_of, unless_gone
from ._errors import DeadlineError, DrainingError, GroupError, OverloadedError
from ._group_forms import Arriving, ReadSample, SampleId
from ._metrics import Metrics
from ._seats import Seats
from ._settings import GroupSettings, HttpSettings
from ._uploads import with_uploads
from ._work import Rules, encode

OTHER_FILES = 256
"""Open files of the process that are no connections of waiting samples."""
READERS = 2
"""Threads that read samples where no media are fetched."""


class QueueJudge:
    """Judge that scores with the queue of the server, from another thread than that of its event loop."""

    def __init__(self, batcher: Batcher, deadline: float, metrics: Metrics):
        """``deadline``: seconds after which a group that was not scored is given up."""
        self._batcher = batcher
        self._deadline = deadline
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()

    def score_batch(
        self, requests: Sequence[ScoringRequest], *, on_error: Literal["return"]
    ) -> list[Judgement | YojError]:
        """Score requests; see `yoj.runtime.Scorer.score_batch`."""
        assert on_error == "return"
        work = self._batcher.judge_promised(requests, time.monotonic() + self._deadline)
        found = asyncio.run_coroutine_threadsafe(work, self._loop).result()
        self._metrics.judged([one for one in found if isinstance(one, Judgement)])
        return found


class Groups:
    """The meeting point of a server.

    A sample that waits for its group holds a connection, and neither a thread nor a place of the queue. What it needs
    is promised to it when the first of its group comes: later ones are never refused for want of room.
    """

    def __init__(self, settings: HttpSettings, own: GroupSettings, batcher: Batcher, bodies: Bodies, rules: Rules):
        self._settings = settings
        self._own = own
        self._batcher = batcher
        self._bodies = bodies
        self._rules = rules

    def start(self, metrics: Metrics) -> None:
        """Accept samples. Called in the event loop."""
        judge = QueueJudge(self._batcher, self._settings.deadline, metrics)
        meeting = replace(self._own.meeting, max_samples=min(self._own.meeting.max_samples, max_connections()))
        self._meeting = MeetingPoint(GroupReward(judge, self._own.reward).rewards, meeting)
        metrics.count_groups(lambda: self._meeting.outcomes)
        metrics.group_samples.set_function(lambda: self._meeting.waiting)
        self._seats = Seats(meeting.timeout)
        # A host that answers slowly takes a thread for as long.
        count = self._settings.queue.max_queue if self._settings.hosts else READERS
        self._readers = ThreadPoolExecutor(count, "yoj-groups")

    async def close(self) -> None:
        """Take no sample any more, answer those whose group is not whole, and wait for what is being scored."""
        await asyncio.to_thread(self._meeting.close)

    async def stop(self) -> None:
        """Answer what is here, and end the threads."""
        await self.close()
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: Request, read: ReadSample) -> bytes:
        """Answer one HTTP request, when its group was scored.

        Args:
            request: the request, whose body nobody has read.
            read: function that reads the body.

        Returns:
            Body of the answer.

        Raises:
            YojError: see `_errors.ANSWERS`.
        """
        if not self._batcher.accepts:
            raise DrainingError("The server is shutting down or not ready yet. Ask another one, or try again later.", 5)
        deadline = time.monotonic() + seconds_of(request, self._own.meeting.timeout + self._settings.deadline)
        read = with_uploads(read, request.headers.get("content-type", ""))
        arriving = await self._read(request, read, deadline)
        return await unless_gone(request, self._met(request, arriving, deadline))

    async def _read(self, request: Request, read: ReadSample, deadline: float) -> Arriving:
        with self._bodies.reading() as reader:
            body = await reader.read(request, min(deadline, time.monotonic() + self._settings.deadline))
            reading = asyncio.get_running_loop().run_in_executor(self._readers, read, body, self._rules)
            return await unless_gone(request, _result(reading))

    async def _met(self, request: Request, arriving: Arriving, deadline: float) -> bytes:
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                if arriving.sample is not None:
                    return await self._reward(arriving, arriving.group, arriving.sample)
                taken = self._seats.taken(arriving.group, arriving.size, arriving.digest, request.is_disconnected)
                async with taken as seat:
                    return await self._reward(arriving, seat.key, seat.sample)
        except TimeoutError as error:
            raise DeadlineError(
                f"Group {arriving.group!r} was not whole, or not scored, within the caller's time. The sample stays "
                "there: send it again to get its reward."
            ) from error
        except MeetingError as error:
            raise _translated(error) from error

    async def _reward(self, arriving: Arriving, key: str, name: SampleId) -> bytes:
        submit = partial(self._meeting.submit, key, arriving.size)
        loop = asyncio.get_running_loop()
        waiting = await loop.run_in_executor(self._readers, submit, _sample(name, arriving.hand_over()))
        met = await asyncio.wrap_future(waiting)
        return encode(arriving.answer(met.reward, met.place, met.group))


async def _result(reading: Awaitable[Arriving]) -> Arriving:
    return await reading


def _sample(name: SampleId, given: ScoringRequest) -> GroupSample:
    (response,) = given.responses
    return GroupSample(
        name, given.prompt, response, given.images, given.video, given.fps, given.timestamps, given.placeholders
    )


def _translated(error: MeetingError) -> Exception:
    """Error whose class says the status."""
    text, cause = str(error), error.__cause__
    match error.reason:
        case "full":
            return OverloadedError(text)
        case "closed":
            return DrainingError(text, 5)
        case "time":
            return DeadlineError(text)
        case "judge":
            return type(cause)(text) if isinstance(cause, YojError) else RuntimeError(text)
        case "conflict":
            return GroupError(text)


def max_connections() -> int:
    """Samples whose connections the process may hold, after it has raised its limit of open files as far as it may."""
    try:
        import resource
    except ImportError:  # Windows
        return 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MeetingSettings().max_samples + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted - OTHER_FILES if soft == resource.RLIM_INFINITY else max(1, soft - OTHER_FILES)
