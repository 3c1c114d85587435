"""HTTP connections that give up on callers who send their headers slowly or without end."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS, BODY_SECONDS = 10.0, 30.0
"""Seconds in which the head of a request must have arrived, from the opening of the connection or its first byte, and
its body, which no route waits for as long."""
HEAD_BYTES = 512 * 1024
"""Most bytes that are received before a head is complete. One read of the event loop has half of that at most."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's connection with bounds for each request; uvicorn itself bounds the time between requests."""

    message_bytes = 64 * 2**20
    """Most bytes of one request, with all that frames its body, and what follows it."""

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = True
        self._bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._expect(HEAD_SECONDS)

    def on_message_begin(self) -> None:
        """Begin to wait for the end of a head."""
        super().on_message_begin()
        self._in_head = True
        self._expect(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        """Begin to wait for the end of a body."""
        self._in_head = False
        self._expect(BODY_SECONDS)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop waiting."""
        self._forget()
        self._bytes = 0
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Count what arrives of a request."""
        self._bytes += len(data)
        if self._bytes > (HEAD_BYTES if self._in_head else self.message_bytes):
            self.transport.close()
            return
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._forget()
        super().connection_lost(exc)

    def _expect(self, seconds: float) -> None:
        self._forget()
        self._timer = self.loop.call_later(seconds, self.transport.close)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded(max_body: int) -> type[BoundedProtocol]:
    """Connections whose requests have a body of at most so many bytes. Chunks and trailers may add as much again."""
    return type("BoundedProtocol", (BoundedProtocol,), {"message_bytes": HEAD_BYTES + 2 * max_body})
