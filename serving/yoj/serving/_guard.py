"""Guard around all routes: request ids, API keys, one log line and one measurement for each request."""

from __future__ import annotations

import hmac
import logging
import re
import time
import uuid
from collections.abc import Collection, Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ._errors import AccessError
from ._metrics import Metrics
from ._tracing import trace_id
from ._work import encode, error_fields

OPEN_PATHS = frozenset({"/health", "/ready"})
"""Paths that need no API key: what asks for them often cannot send one."""
REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
log = logging.getLogger("yoj.serving")


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics, api_keys: Sequence[str], paths: Collection[str]):
        """``paths``: those of all routes. Another one would make a time series for each misspelling."""
        self._app = app
        self._metrics = metrics
        self._keys = [key.encode() for key in api_keys]
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, begin, status = Headers(scope=scope), time.perf_counter(), 0
        given = headers.get("x-request-id", "")
        own = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        about: dict[str, Any] = {}
        path = scope["path"].removeprefix(scope.get("root_path", ""))  # which one that is mounted has
        scope.setdefault("state", {})["about"] = about

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = own
            await send(message)

        try:
            if self._may_pass(path, headers):
                await self._app(scope, receive, answer)
            else:
                await self._refuse(answer, about)
        finally:
            seconds = time.perf_counter() - begin
            route = path if path in self._paths else "none"
            self._metrics.requests.labels(route, str(status)).observe(seconds)
            fields = {"request_id": own, "route": route, "status": status, "ms": round(1000 * seconds, 3)}
            if (trace := trace_id()) is not None:
                fields["trace_id"] = trace
            log.info("request", extra={"fields": fields | about})

    def _may_pass(self, path: str, headers: Headers) -> bool:
        if not self._keys or path in OPEN_PATHS:
            return True
        scheme, _, key = headers.get("authorization", "").partition(" ")
        # Headers are decoded byte by byte, whatever they mean.
        given = (key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")).encode("latin-1")
        # All are compared, in constant time, so that the time says nothing of any.
        return True in [hmac.compare_digest(given, key) for key in self._keys]

    async def _refuse(self, send: Send, about: dict[str, Any]) -> None:
        fields = error_fields(AccessError("No valid API key. Send it as Authorization: Bearer KEY."))
        self._metrics.errors.labels(fields["type"]).inc()
        about["error"] = fields["type"]
        headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": encode({"error": fields})})
