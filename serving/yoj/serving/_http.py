"""The HTTP server's process: uvicorn with the bounds that yoj sets."""

from __future__ import annotations

from dataclasses import dataclass

import uvicorn

from yoj.runtime import Scorer

from ._app import make_app
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


def serve(scorer: Scorer, settings: HttpSettings, process: Process) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what was taken, and return."""
    log_json(process.log_level)
    if process.otel:
        export_spans()
    with scorer:
        config = uvicorn.Config(
            make_app(scorer, settings),
            host=process.host,
            port=process.port,
            http=bounded(settings.max_body),
            access_log=False,
            log_config=None,
            server_header=False,
            # What was taken is answered or given up by then.
            timeout_graceful_shutdown=round(settings.deadline) + 5,
        )
        uvicorn.Server(config).run()
