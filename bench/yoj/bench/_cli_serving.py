"""``yoj-bench serve`` and ``soak``: costs and faults of a server of one bundle."""

from __future__ import annotations

import base64
from pathlib import Path

import click

from yoj.runtime.options import readable_errors

from ._options import bundle_argument, image_option, out_option, repeats_option, threads_option
from ._records import write_figures


@click.command()
@bundle_argument
@image_option
@click.option("--requests", default=400, show_default=True, type=click.IntRange(min=1),
              help="Requests of the batch loop, and of the server under load.")  # fmt: skip
@threads_option
@repeats_option(3)
@out_option
def serve(bundle: Path, image: Path | None, requests: int, threads: int, repeats: int, out: Path | None) -> None:
    """Measure what a server adds to BUNDLE: at low load, and where more requests arrive than it answers. CPU only."""
    from ._serve import ServeSettings, measure, table

    shown = None if image is None else "data:;base64," + base64.b64encode(image.read_bytes()).decode()
    with readable_errors():
        found = measure(bundle, ServeSettings(requests, repeats, threads, shown))
        click.echo(table(found))
        write_figures(out, found, found["environment"])


@click.command()
@bundle_argument
@click.option("--requests", default=100_000, show_default=True, type=click.IntRange(min=100), help="Requests in all.")
@click.option("--clients", default=8, show_default=True, type=click.IntRange(min=1), help="Clients at once.")
@click.option("--restarts", default=3, show_default=True, type=click.IntRange(min=0),
              help="Times that the server is ended and started, by SIGTERM twice, then by SIGKILL.")  # fmt: skip
@out_option
def soak(bundle: Path, requests: int, clients: int, restarts: int, out: Path | None) -> None:
    """Send very many requests to a server of BUNDLE; exit with 1 if one is lost, doubled or wrong. Linux only."""
    from ._soak import measure, table

    with readable_errors():
        found = measure(bundle, requests, clients, restarts)
    click.echo(table(found))
    write_figures(out, found, found["environment"])
    if found["lost"] or found["doubled"] or found["wrong"]:
        raise click.ClickException("answers are not right")
