"""The HTTP server's process: uvicorn with the bounds that yoj sets."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

import uvicorn

from yoj.runtime import Scorer

from ._app import make_app
from ._groups import Groups
from ._logging import log_json
from ._protocol import bounded
from ._settings import HttpSettings
from ._tracing import export_spans


@dataclass(frozen=True)
class Process:
    """Settings of the process around the application."""

    host: str
    port: int
    log_level: str
    otel: bool
    """Whether spans of OpenTelemetry are sent."""


class DrainingServer(uvicorn.Server):
    """Server that ends by answering the samples whose groups cannot be whole any more, and then all others."""

    def __init__(self, config: uvicorn.Config, groups: Groups | None):
        super().__init__(config)
        self._groups = groups

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was taken, and close."""
        closing = None if self._groups is None else asyncio.create_task(self._groups.close())
        await super().shutdown(sockets)
        if closing is not None:
            await closing


def serve(scorer: Scorer, settings: HttpSettings, process: Process) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what was taken, and return."""
    log_json(process.log_level)
    if process.otel:
        export_spans()
    with scorer:
        app = make_app(scorer, settings)
        config = uvicorn.Config(
            app,
            host=process.host,
            port=process.port,
            http=bounded(settings.max_body),
            access_log=False,
            log_config=None,
            server_header=False,
            # What was taken is answered or given up by then.
            timeout_graceful_shutdown=round(settings.deadline) + 5,
        )
        DrainingServer(config, app.state.service.groups).run()
