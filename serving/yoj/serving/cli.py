"""``yoj-serve``: bundles behind interfaces that other programs call."""

from __future__ import annotations

import os
from pathlib import Path

import click

from yoj.runtime.engines import ENGINES, GPU_ENGINES
from yoj.runtime.options import readable_errors
from yoj.runtime.version import __version__

from ._kserve_cli import kserve
from .triton._cli import triton

API_KEYS = "YOJ_API_KEYS"


@click.group()
@click.version_option(__version__, prog_name="yoj-serve")
def main() -> None:
    """Serve a bundle to other programs."""


main.add_command(kserve)
main.add_command(triton)


@main.command()
@click.argument("bundle", type=click.Path())
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--name", help="Name of the model in /v1/models.  [default: that of BUNDLE]")
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
    help="Most requests in the server at once; one more is refused with 429.",
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
    help="Seconds after which a request that was not scored is answered with 504.",
)
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
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option("--log-content", is_flag=True, help="Log error texts too, which quote requests.")
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
    log_level: str,
    log_content: bool,
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

    from ._http import serve
    from ._settings import HttpSettings, QueueSettings

    runs = (threads or 2) if engine is not None and ENGINES[engine].library is not None else 1
    with readable_errors():
        settings = HttpSettings(
            name=name or Path(bundle).name.partition("@")[0].removesuffix(".yoj"),
            queue=QueueSettings(
                max_queue=max_queue,
                max_delay=max_delay / 1000,
                intake_threads=max(2, min(16, os.cpu_count() or 2)),
                runs=runs,
            ),
            max_body=max_body * 2**20,
            deadline=deadline,
            hosts=frozenset(hosts),
            api_keys=_keys(api_key_file),
            log_content=log_content,
        )
        serve(Scorer.load(bundle, engine=engine, threads=threads), settings, host, port, log_level)


def _keys(file: Path | None) -> tuple[str, ...]:
    text = os.environ.get(API_KEYS, "").replace(",", "\n") if file is None else file.read_text("utf-8")
    keys = tuple(line.strip() for line in text.splitlines() if line.strip())
    if file is not None and not keys:
        raise click.UsageError(f"{file} holds no key. Write one on a line, or leave the option out for no keys.")
    return keys
