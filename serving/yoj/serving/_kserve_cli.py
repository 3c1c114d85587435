"""``yoj-serve kserve``: a bundle behind KServe's server."""

from __future__ import annotations

import importlib.util

import click

from yoj.runtime.options import readable_errors

from ._options import (
    deadline_option,
    engine_option,
    max_delay_option,
    max_queue_option,
    model_name,
    queue_settings,
    threads_option,
)


@click.command(name="kserve")
@click.argument("bundle", type=click.Path())
@click.option("--name", help="Name of the JSON model; that of tensors has _tensors after it.  [default: BUNDLE's]")
@click.option("--http-port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Port of HTTP.")
@click.option("--grpc-port", type=click.IntRange(1, 65535), default=8081, show_default=True, help="Port of gRPC.")
@engine_option
@threads_option
@max_queue_option
@max_delay_option
@deadline_option
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

    with readable_errors(), Scorer.load(bundle, engine=engine, threads=threads) as scorer:
        queue = queue_settings(scorer, threads, max_queue, max_delay)
        serve(scorer, name or model_name(bundle), queue, deadline, (http_port, grpc_port))
