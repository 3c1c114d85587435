"""Deployment of Ray Serve: a judge behind HTTP, with the JSON of `yoj-serve http`."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from yoj.runtime import (
    Judgement,
    Prepared,
    Reading,
    Request,
    RequestError,
    Scorer,
    YojError,
    decode_request,
    encode_judgement,
)
from yoj.runtime.answers import answer_of, error_fields
from yoj.runtime.manifest import Mode
from yoj.runtime.orders import Orders

from ._ray_data import assigned, engine_threads

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response

log = logging.getLogger("yoj.integrations")

JUDGE = "/v1/judge"
HEALTH = "/health"


@dataclass(frozen=True)
class ServeConfig:
    """Settings of a deployment."""

    reading: Reading = field(default_factory=Reading)
    """Settings for reading requests. By default media stand in the requests themselves."""
    mode: Mode | None = None
    """Mode of requests that name none."""
    orders: Orders = 1
    """Orders of requests that name none."""
    engine: str | None = None
    """Engine; None for the bundle's first, or for ``onnxruntime-cuda`` where replicas have a GPU."""
    precision: str | None = None
    """Precision of the engine; None for the bundle's first."""
    replicas: int | tuple[int, int] = 1
    """Number of replicas, or the least and the most, between which Ray Serve chooses by the load."""
    cpus: float = 1
    """CPU cores of a replica, and threads of its engine."""
    gpus: float = 0
    """GPUs of a replica."""
    max_batch_size: int = 16
    """Most requests that a replica scores together."""
    batch_wait: float = 0.002
    """Seconds for which a replica waits for more requests."""
    max_ongoing: int = 64
    """Most requests that are in a replica."""
    target_ongoing: float = 16
    """Requests in a replica at which Ray Serve keeps the number of replicas; with more it starts others."""
    max_queued: int = 256
    """Most requests that wait for a replica, in each proxy; others get 503."""


class JudgeReplica:
    """Replica: the judge in one process, whose requests are prepared by threads and scored together."""

    def __init__(self, bundle: str, config: ServeConfig):
        """Open the bundle and score once, so that nothing is loaded at the first request.

        Args:
            bundle: its folder on every node, or its name on the Hugging Face hub.
            config: settings of the deployment.

        Raises:
            YojError: the bundle cannot be opened; see `yoj.runtime.Scorer.load`.
        """
        serve: Any = importlib.import_module("ray.serve")
        self._config = config
        cpus, has_gpu = assigned()
        engine = config.engine or ("onnxruntime-cuda" if has_gpu else None)
        threads = engine_threads(engine, cpus)
        self._scorer = Scorer.load(bundle, engine=engine, precision=config.precision, threads=threads)
        self._scorer.score_batch([Request("Which is better?", ["One.", "Another one."])])

        async def judged(prepared: list[Prepared]) -> Sequence[Judgement | YojError]:
            return await asyncio.to_thread(self._scorer.score_prepared, prepared, on_error="return")

        batched = serve.batch(max_batch_size=config.max_batch_size, batch_wait_timeout_s=config.batch_wait)
        self._judged: Callable[[Prepared], Awaitable[Judgement | YojError]] = batched(judged)

    async def __call__(self, request: HttpRequest) -> Response:
        """Answer a request of HTTP: ``POST /v1/judge``, whose body is a request in JSON, or ``GET /health``."""
        from starlette.responses import Response

        path = str(request.scope["path"]).removeprefix(str(request.scope.get("root_path", "")))
        if path == HEALTH:
            return Response(b'{"status":"ok"}', media_type="application/json")
        if path != JUDGE or request.method != "POST":
            fields = {
                "message": f"There is no {request.method} {path}; there is POST {JUDGE}, and GET {HEALTH}.",
                "type": "route",
                "param": None,
                "code": 404,
            }
            return Response(msgspec.json.encode({"error": fields}), 404, media_type="application/json")
        try:
            judgement = await self._judge(await request.body())
        except Exception as error:
            answer = answer_of(error)
            if not isinstance(error, YojError):
                log.error("a request failed", exc_info=error)
            body = msgspec.json.encode({"error": error_fields(error, answer)})
            return Response(body, answer.status, media_type="application/json")
        return Response(msgspec.json.encode(encode_judgement(judgement)), media_type="application/json")

    async def _judge(self, body: bytes) -> Judgement:
        result = await self._judged(await asyncio.to_thread(self._prepare, body))
        if isinstance(result, YojError):
            raise result
        return result

    def _prepare(self, body: bytes) -> Prepared:
        request = decode_request(body, self._config.reading)
        return self._scorer.prepare(request, self._config.mode, self._config.orders)


def serve_app(bundle: str | Path, config: ServeConfig | None = None) -> Any:
    """Application of Ray Serve that a judge answers.

    >>> serve.run(serve_app("/models/judge.yoj", ServeConfig(replicas=(1, 8))))

    Args:
        bundle: a folder that every node has, or a name on the Hugging Face hub. Replicas outlive the process that
            starts them, so that a shipped bundle, which does not, is none.
        config: None for the default settings.

    Returns:
        A `ray.serve.Application`, for ``serve.run`` or the configuration of ``serve deploy``.

    Raises:
        RequestError: the bundle is not given by its path or name, or the number of replicas cannot be.
    """
    if not isinstance(bundle, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RequestError(
            f"The bundle is a {type(bundle).__name__}; replicas outlive the process that ships one. Give a folder that "
            "every node has, or a name on the hub."
        )
    serve: Any = importlib.import_module("ray.serve")
    config = config or ServeConfig()
    return serve.deployment(
        JudgeReplica,
        name="yoj",
        ray_actor_options={"num_cpus": config.cpus, "num_gpus": config.gpus},
        max_ongoing_requests=config.max_ongoing,
        max_queued_requests=config.max_queued,
        **_replicas(config),
    ).bind(str(bundle), config)


def _replicas(config: ServeConfig) -> dict[str, Any]:
    if isinstance(config.replicas, int):
        return {"num_replicas": config.replicas}
    least, most = config.replicas
    return {
        "autoscaling_config": {
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": config.target_ongoing,
        }
    }
