"""Service: what the routes of a server have in common, from the bytes of a body to those of an answer."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import Request

from yoj.runtime import Judgement, Policy, Reading, Scorer
from yoj.runtime import Request as ScoringRequest

from ._batcher import Batcher, Given
from ._body import Bodies, seconds_of, unless_gone
from ._groups import Groups
from ._metrics import Metrics
from ._settings import HttpSettings
from ._uploads import with_uploads
from ._work import Read, Rules, Work, encode


class Service:
    """One loaded bundle behind a queue."""

    def __init__(self, scorer: Scorer, settings: HttpSettings):
        self.scorer = scorer
        self.settings = settings
        self.metrics = Metrics(scorer.cache)
        self.batcher = Batcher(scorer, settings.queue, self.metrics)
        self.started = int(time.time())
        self.bodies = Bodies(settings)
        policy = Policy(hosts=settings.hosts, max_bytes=settings.max_body)
        self.rules = Rules(Reading(policy), settings.name, settings.queue.max_queue)
        # A host that answers slowly takes a thread for as long; none of these is one that decodes.
        self._fetchers = ThreadPoolExecutor(settings.queue.max_queue, "yoj-fetch") if settings.hosts else None
        own = settings.groups
        self.groups = None if own is None else Groups(settings, own, self.batcher, self.bodies, self.rules)

    async def start(self) -> None:
        """Score once, so that nothing is loaded or compiled at the first request, and accept requests."""
        warm = ScoringRequest("Which is better?", ["One.", "Another one."])
        await asyncio.to_thread(self.scorer.score_batch, [warm])
        self.batcher.start()
        if self.groups is not None:
            self.groups.start(self.metrics)

    async def stop(self) -> None:
        """Answer what is here, and release everything but the scorer."""
        if self.groups is not None:
            await self.groups.stop()
        await self.batcher.stop()
        if self._fetchers is not None:
            self._fetchers.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: Request, read: Read) -> bytes:
        """Answer one HTTP request.

        Args:
            request: the request, whose body nobody has read.
            read: function that reads the body.

        Returns:
            Body of the answer.

        Raises:
            YojError: see `_errors.ANSWERS`.
        """
        deadline = time.monotonic() + seconds_of(request, self.settings.deadline)
        read = with_uploads(read, request.headers.get("content-type", ""))
        self.batcher.check_room()  # before anything is read
        with self.bodies.reading() as reader:
            body = await reader.read(request, deadline)
            self.batcher.admit()  # not before: a caller who sends slowly must not hold a place
            try:
                return await unless_gone(request, self._work(body, read, deadline))
            finally:
                self.batcher.release()

    async def _work(self, body: bytes, read: Read, deadline: float) -> bytes:
        def work() -> tuple[Work, Given]:
            found = read(body, self.rules)
            return found, found.requests

        if self._fetchers is not None:
            fetched = await self.batcher.in_time(self._fetchers.submit(work), deadline)
            found, results = await self.batcher.judge(lambda: fetched, deadline)
        else:
            found, results = await self.batcher.judge(work, deadline)
        answer = encode(found.answer(results))
        good = [one for one in results if isinstance(one, Judgement)]
        asyncio.get_running_loop().call_soon(self.metrics.judged, good)  # after the answer is on its way
        return answer

    def models(self) -> dict[str, Any]:
        """Answer of ``/v1/models``."""
        manifest, engine = self.scorer.manifest, self.scorer.engine
        model = {
            "id": self.settings.name,
            "object": "model",
            "created": self.started,
            "owned_by": "yoj",
            "max_model_len": manifest.limits.L,
            "family": manifest.family,
            "engine": engine.engine,
            "precision": engine.precision,
            "manifest_sha256": manifest.digest,
        }
        return {"object": "list", "data": [model]}
