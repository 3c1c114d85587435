"""``yoj-serve kserve``: a bundle behind KServe's server."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import click

from yoj.runtime.engines import ENGINES, GPU_ENGINES
from yoj.runtime.options import readable_errors


@click.command(name="kserve")
@click.argument("bundle", type=click.Path())
@click.option("--name", help="Name of the JSON model; that of tensors has _tensors after it.  [default: BUNDLE's]")
@click.option("--http-port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Port of HTTP.")
@click.option("--grpc-port", type=click.IntRange(1, 65535), default=8081, show_default=True, help="Port of gRPC.")
@click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    help=f"Engine that executes the graphs; {GPU_ENGINES} need a GPU.  [default: the first of the bundle]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads of one run; with the TensorRT engines, requests that run at once.  [default: all cores; 2]",
)
@click.option(
    "--max-queue",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Most requests in the server at once; one more is refused as unavailable.",
)
@click.option(
    "--max-delay",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Most milliseconds that a request waits for others which are being decoded, to be scored with them.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds after which a request that was not scored is refused as unavailable.",
)
def kserve(
    bundle: str,
    name: str | None,
    http_port: int,
    grpc_port: int,
    engine: str | None,
    threads: int | None,
    max_queue: int,
    max_delay: float,
    deadline: float,
) -> None:
    """Serve BUNDLE with KServe's server: protocols v1 and v2 over HTTP, v2 over gRPC.

    \b
    Example:
      yoj-serve kserve judge.yoj
      curl localhost:8080/v1/models/judge:predict -d '{"instances": [{"prompt": "Which?", "responses": ["A.", "B."]}]}'

    BUNDLE is a folder or org/name@revision of the Hugging Face hub. KServe listens on all addresses and takes no keys:
    run it behind what checks callers. Needs pip install 'yoj[kserve]'.
    """
    if importlib.util.find_spec("kserve") is None:
        raise click.ClickException("kserve is not installed. Install it with pip install 'yoj[kserve]'.")
    from yoj.runtime import Scorer

    from ._kserve import serve
    from ._settings import QueueSettings

    queue = QueueSettings(
        max_queue=max_queue,
        max_delay=max_delay / 1000,
        intake_threads=max(2, min(16, os.cpu_count() or 2)),
        runs=(threads or 2) if engine is not None and ENGINES[engine].library is not None else 1,
    )
    with readable_errors(), Scorer.load(bundle, engine=engine, threads=threads) as scorer:
        serve(
            scorer,
            name or Path(bundle).name.partition("@")[0].removesuffix(".yoj"),
            queue,
            deadline,
            (http_port, grpc_port),
        )
