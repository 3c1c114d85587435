"""The HTTP application: its routes, and what each takes and gives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from yoj.runtime import Scorer, YojError, __version__

from ._body import CallerGoneError
from ._errors import OverloadedError, answer_of
from ._group_forms import ReadSample, read_openrlhf, read_sample
from ._guard import Guard
from ._openapi import DESCRIPTION, judge_schemas, operation
from ._ranking_forms import read_rerank, read_score
from ._service import Service
from ._settings import HttpSettings
from ._tracing import TELEMETRY, flush
from ._work import Read, encode, error_fields, read_judge, read_judge_batch

log = logging.getLogger("yoj.serving")
MEANING = "scores-compare-only-within-one-request"
"""Value of the header ``X-Yoj-Meaning`` of answers in the forms of rerankers, which read each document alone."""


@dataclass(frozen=True)
class Route:
    """Route that takes a body with requests."""

    paths: tuple[str, ...]
    read: Read
    summary: str
    schema: str
    """Name of the schema of its body."""
    meaning: bool = False
    """Whether its form means something else elsewhere, which a header says."""


ROUTES = (
    Route(("/v1/judge",), read_judge, "Score the N responses to one prompt in one forward pass.", "Request"),
    Route(("/v1/judge/batch",), read_judge_batch, "Score several requests; each fails alone.", "Requests"),
    Route(
        ("/rerank", "/v1/rerank", "/v2/rerank"),
        read_rerank,
        "Rank documents for a query, in the form of vLLM, Jina, Cohere (v1, v2) or TEI. "
        "relevance_score is P(best) among these documents.",
        "Rerank",
        meaning=True,
    ),
    Route(
        ("/score", "/v1/score"),
        read_score,
        "Raw scores in the form of vLLM: one query with N documents is one pass.",
        "Score",
        meaning=True,
    ),
)


@dataclass(frozen=True)
class GroupRoute:
    """Route that takes a body with one sample of a group."""

    path: str
    read: ReadSample
    summary: str
    schema: str
    """Name of the schema of its body."""


GROUP_ROUTES = (
    GroupRoute(
        "/v1/groups",
        read_sample,
        "Add one sample to its group. It is answered when all samples of the group have come and were scored in one "
        "pass.",
        "Sample",
    ),
    GroupRoute(
        "/v1/groups/openrlhf",
        read_openrlhf,
        "The same in the form of OpenRLHF's --reward.remote_url.",
        "OpenRLHF",
    ),
)


def make_app(scorer: Scorer, settings: HttpSettings) -> FastAPI:
    """Make the application of one bundle.

    Args:
        scorer: the loaded bundle.
        settings: settings of the server.

    Returns:
        ASGI application; ``app.state.service`` is what its routes share.
    """
    service = Service(scorer, settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncGenerator[None]:
        await service.start()
        yield
        await service.stop()
        await asyncio.to_thread(flush)

    app = FastAPI(
        title="yoj",
        version=__version__,
        description=DESCRIPTION,
        lifespan=life,
        telemetry=TELEMETRY,
        redirect_slashes=False,  # it would lead to whatever host the caller named
    )
    app.state.service = service
    for route in ROUTES:
        for path in route.paths:
            # Without FastAPI's reading of parameters, which there are none of, a request takes a tenth of a
            # millisecond less.
            answer = partial(service.answer, read=route.read)
            headers = {"x-yoj-meaning": MEANING} if route.meaning else {}
            app.add_route(path, _endpoint(service, answer, headers), methods=["POST"])
    if service.groups is not None:
        for route in GROUP_ROUTES:
            app.add_route(
                route.path, _endpoint(service, partial(service.groups.answer, read=route.read), {}), methods=["POST"]
            )
    _add_state_routes(app, service)
    app.add_exception_handler(HTTPException, _no_such_route)
    paths = frozenset(str(getattr(route, "path", "")) for route in app.routes)
    app.add_middleware(Guard, metrics=service.metrics, api_keys=settings.api_keys, paths=paths)
    _extend_schema(app, GROUP_ROUTES if service.groups is not None else ())
    return app


def _endpoint(
    service: Service, answer: Callable[[Request], Awaitable[bytes]], headers: dict[str, str]
) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        try:
            body = await answer(request)
        except Exception as error:
            return _error(service, request, error)
        return Response(body, media_type="application/json", headers=headers)

    return endpoint


def _error(service: Service, request: Request, error: Exception) -> Response:
    answer = answer_of(error)
    if not isinstance(error, CallerGoneError):
        service.metrics.errors.labels(answer.kind).inc()
    request.state.about["error"] = answer.kind
    if service.settings.log_content or not isinstance(error, YojError):
        request.state.about["message"] = str(error)
    if not isinstance(error, YojError):
        log.error("a request failed", exc_info=error)
    headers: dict[str, str] = {}
    if answer.status in (429, 503):
        headers["retry-after"] = str(error.retry_after if isinstance(error, OverloadedError) else 1)
    if answer.status in (413, 415):
        headers["connection"] = "close"  # the rest of the body is not read
    return Response(
        encode({"error": error_fields(error)}), answer.status, media_type="application/json", headers=headers
    )


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    request.app.state.service.metrics.errors.labels("route").inc()
    request.state.about["error"] = "route"
    fields = {"message": f"{error.detail}. /docs lists what there is.", "type": "route", "param": None}
    return Response(
        encode({"error": fields | {"code": error.status_code}}),
        error.status_code,
        media_type="application/json",
        headers=error.headers,
    )


def _add_state_routes(app: FastAPI, service: Service) -> None:
    @app.get("/health", summary="200 as long as the process answers.")
    async def health() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(b'{"status":"ok"}', media_type="application/json")

    @app.get("/ready", summary="200 once a first score was computed, 503 before and while shutting down.")
    async def ready() -> Response:  # pyright: ignore[reportUnusedFunction]
        accepts = service.batcher.accepts
        body = encode({"status": "ready" if accepts else "not ready"})
        return Response(body, 200 if accepts else 503, media_type="application/json")

    @app.get("/v1/models", summary="The model that is served.")
    async def models() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(encode(service.models()), media_type="application/json")

    @app.get("/metrics", summary="Metrics for Prometheus.", response_class=PlainTextResponse)
    async def metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _extend_schema(app: FastAPI, groups: Sequence[GroupRoute]) -> None:
    made = app.openapi

    def openapi() -> dict[str, Any]:
        schema = made()
        schema.setdefault("components", {}).setdefault("schemas", {}).update(judge_schemas())
        for route in ROUTES:
            for path in route.paths:
                schema["paths"][path] = {"post": operation(path, route.summary, route.schema)}
        for one in groups:
            schema["paths"][one.path] = {"post": operation(one.path, one.summary, one.schema)}
        return schema

    app.openapi = openapi
