"""Bodies of requests: read within bounds of size and time, given up when the caller goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from yoj.runtime.error_texts import shorten
from yoj.runtime.errors import RequestError

from ._errors import BodyError, EncodingError, OverloadedError
from ._settings import HttpSettings

T = TypeVar("T")
TIMEOUT_HEADER = "x-request-timeout"
"""Header with the seconds after which a caller wants no answer any more."""


class Bodies:
    """Bodies that are in the server, whose sizes are bounded together."""

    def __init__(self, settings: HttpSettings):
        self._settings = settings
        self._held = 0

    @contextmanager
    def reading(self) -> Generator[BodyReader]:
        """Reader of one body, whose bytes count until the block ends."""
        reader = BodyReader(self)
        try:
            yield reader
        finally:
            self._held -= reader.held

    def check_size(self, size: int) -> None:
        """Refuse a body of so many bytes.

        Raises:
            BodyError: it is too large.
        """
        limit = self._settings.max_body
        if size > limit:
            raise BodyError(
                f"The body has more than {limit:,} bytes, which are the limit. Send smaller media, or fewer requests "
                "at once."
            )

    def take(self, count: int, held: int) -> None:
        """Count bytes of a body that has ``held`` already.

        Raises:
            BodyError: the body is too large.
            OverloadedError: all bodies together are.
        """
        self.check_size(held + count)
        if self._held + count > self._settings.max_bytes:
            raise OverloadedError(f"The bodies that are in the server have {self._held:,} bytes. Try again later.")
        self._held += count

    @property
    def seconds(self) -> float:
        """Seconds in which a body must have arrived."""
        return self._settings.body_seconds


class BodyReader:
    """Reader of one body."""

    def __init__(self, bodies: Bodies):
        self._bodies = bodies
        self.held = 0
        """Bytes that were counted."""

    async def read(self, request: Request, deadline: float) -> bytes:
        """Read the whole body.

        Args:
            request: the request.
            deadline: time of `time.monotonic` at which it is given up.

        Raises:
            BodyError: it is too large, does not arrive in time, or its caller goes.
            EncodingError: it is compressed.
            OverloadedError: there is no room for it.
        """
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise EncodingError(f"The body has the encoding {shorten(encoding, 40)}. Send it as it is.")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal():
            self._bodies.check_size(int(declared))
        content, begin = bytearray(), time.monotonic()
        try:
            async with asyncio.timeout(min(self._bodies.seconds, max(0.0, deadline - begin))):
                async for piece in request.stream():
                    self._take(len(piece))
                    content += piece
        except TimeoutError as error:
            raise BodyError(
                f"The body did not arrive within {time.monotonic() - begin:.1f} s; {len(content):,} bytes of it did."
            ) from error
        except ClientDisconnect as error:
            raise CallerGoneError("The caller went before its body had arrived.") from error
        return bytes(content)

    def _take(self, count: int) -> None:
        self._bodies.take(count, self.held)
        self.held += count


def seconds_of(request: Request, most: float) -> float:
    """Seconds for which a caller waits, which are the most or what its header says.

    Raises:
        RequestError: the header holds something else.
    """
    given = request.headers.get(TIMEOUT_HEADER)
    if given is None:
        return most
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise RequestError(f"{TIMEOUT_HEADER} is {given!r}; give seconds above 0.")
    return min(seconds, most)


class CallerGoneError(BodyError):
    """Request whose caller closed the connection."""


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work of a request, and cancel it when the caller closes the connection. The body must be read before.

    Raises:
        CallerGoneError: the caller went.
    """
    gone = asyncio.ensure_future(_gone(request))
    scope = asyncio.timeout(None)

    def give_up(gone: asyncio.Future[None]) -> None:
        if not gone.cancelled():
            scope.reschedule(0.0)

    try:
        async with scope:
            gone.add_done_callback(give_up)
            try:
                return await work
            finally:
                gone.remove_done_callback(give_up)
    except TimeoutError as error:
        if scope.expired():
            raise CallerGoneError("The caller went before it was answered.") from error
        raise
    finally:
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
