"""``yoj-serve http``: a bundle behind HTTP."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import click

from yoj.runtime.options import readable_errors

from ._options import (
    check_group_options,
    deadline_option,
    engine_option,
    group_orders_option,
    group_partial_option,
    group_reward_option,
    group_settings,
    group_timeout_option,
    max_delay_option,
    max_queue_option,
    model_name,
    queue_settings,
    threads_option,
)

API_KEYS = "YOJ_API_KEYS"


@click.command()
@click.argument("bundle", type=click.Path())
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--name", help="Name of the model in /v1/models.  [default: that of BUNDLE]")
@engine_option
@threads_option
@max_queue_option
@max_delay_option
@deadline_option
@click.option(
    "--max-body",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Largest body of a request, in MiB.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Fetch media of requests from this host; may be repeated.  [default: none]",
)
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"File with an API key on each line, one of which requests must bear.  [default: the keys in {API_KEYS}]",
)
@click.option(
    "--groups",
    is_flag=True,
    help="Take samples of groups one by one too, at /v1/groups: each waits for the others, and all are scored at once.",
)
@group_timeout_option
@group_partial_option
@group_reward_option
@group_orders_option
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option("--log-content", is_flag=True, help="Log error texts too, which quote requests.")
@click.option(
    "--otel",
    is_flag=True,
    help="Send spans of OpenTelemetry to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names.",
)
def http(
    bundle: str,
    host: str,
    port: int,
    name: str | None,
    engine: str | None,
    threads: int | None,
    max_queue: int,
    max_delay: float,
    deadline: float,
    max_body: int,
    hosts: tuple[str, ...],
    api_key_file: Path | None,
    groups: bool,
    group_timeout: float,
    group_partial: Literal["fail", "score"],
    group_reward: Literal["centred", "standardised", "log_probability", "rank", "raw"],
    group_orders: int,
    log_level: str,
    log_content: bool,
    otel: bool,
) -> None:
    """Serve BUNDLE over HTTP: /v1/judge, and /rerank and /score as vLLM, TEI, Cohere and Jina have them.

    \b
    Example:
      yoj-serve http judge.yoj --port 8000
      curl localhost:8000/v1/judge -d '{"prompt": "Which?", "responses": ["This.", "That."]}'

    BUNDLE is a folder or org/name@revision of the Hugging Face hub. /docs describes the routes, /metrics is for
    Prometheus. The server ends on SIGTERM when it has answered what it has taken.
    """
    from yoj.runtime import Scorer

    from ._http import Process, serve
    from ._settings import HttpSettings

    check_group_options(groups)
    keys = _keys(api_key_file)
    if not host.strip():
        raise click.UsageError("--host is empty, which would be all addresses. Give one; 0.0.0.0 for all.")
    if wrong := [one for one in hosts if "/" in one or not one.strip()]:
        raise click.UsageError(f"--allow-host {wrong[0]!r} is no host. Give its name alone, or name:port.")
    with readable_errors():
        scorer = Scorer.load(bundle, engine=engine, threads=threads)
        settings = HttpSettings(
            name=name or model_name(bundle),
            queue=queue_settings(scorer, threads, max_queue, max_delay),
            max_body=max_body * 2**20,
            deadline=deadline,
            hosts=frozenset(hosts),
            api_keys=keys,
            groups=group_settings(group_timeout, group_partial, group_reward, group_orders) if groups else None,
            log_content=log_content,
        )
        serve(scorer, settings, Process(host, port, log_level, otel))


def _keys(file: Path | None) -> tuple[str, ...]:
    """Keys, none only where nothing was given: what was given and holds none must not open the server to all."""
    text, told = (os.environ.get(API_KEYS, ""), API_KEYS) if file is None else (file.read_text("utf-8"), str(file))
    keys = tuple(one.strip() for one in (text.replace(",", "\n") if file is None else text).splitlines() if one.strip())
    if not keys and (file is not None or text):
        raise click.UsageError(f"{told} holds no key. Write one on a line, or leave it out for no keys.")
    if any(re.search(r"\s", key) for key in keys):
        raise click.UsageError(f"{told} holds a key with a blank in it, or a remark. Write keys alone, one on a line.")
    return keys
