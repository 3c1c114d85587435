"""``yoj-bench latency``, ``bulk``, ``runtime-cost``, ``cold-start`` and ``vllm-peer``: costs of one bundle."""

from __future__ import annotations

import os
from pathlib import Path

import click

from yoj.export.options import prepare_libraries
from yoj.runtime.engines import ENGINES
from yoj.runtime.options import readable_errors

from ._options import (
    FOLDER,
    READABLE,
    added_out_option,
    bundle_argument,
    image_option,
    out_option,
    repeats_option,
    threads_option,
)
from ._records import write_figures


@click.command()
@bundle_argument
@click.option("--engine", type=click.Choice(list(ENGINES)), help="Engine of the bundle.  [default: its first]")
@click.option("--shape", "shapes", multiple=True, default=("1600x4", "3400x16"), show_default=True,
              help="Tokens x responses of a request; may be repeated.")  # fmt: skip
@repeats_option(20)
@out_option
def latency(bundle: Path, engine: str | None, shapes: tuple[str, ...], repeats: int, out: Path | None) -> None:
    """Time a request with an image and N responses, again and again, with BUNDLE.

    It is timed from pixels to scores, and in the engine alone.
    """
    from ._latency import measure_all, table

    with readable_errors():
        figures = measure_all(bundle, engine, shapes, repeats)
        click.echo(table(figures))
        write_figures(out, figures, figures["environment"])


@click.command()
@bundle_argument
@click.option("--requests", type=READABLE, help="Requests to score, one JSON object a line.  [default: made-up texts]")
@click.option("--count", default=400, show_default=True, type=click.IntRange(min=1), help="Most requests.")
@click.option("--checkpoint", type=FOLDER, help="Checkpoint of BUNDLE, to score with PyTorch's stock model too.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1),
              help="Processes that run the engine, in another turn of the pipeline; 1: no such turn.")  # fmt: skip
@threads_option
@repeats_option(3)
@added_out_option
@click.option("--name", help="Entry of the figures in --out.  [default: the bundle's name]")
def bulk(
    bundle: Path,
    requests: Path | None,
    count: int,
    checkpoint: Path | None,
    workers: int,
    threads: int,
    repeats: int,
    out: Path | None,
    name: str | None,
) -> None:
    """Score many requests with BUNDLE: one by one, in batches, by the pipeline, in PyTorch. CPU and Linux only."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    prepare_libraries()
    from ._bulk import BulkSettings, measure, table

    with readable_errors():
        found = measure(BulkSettings(bundle, requests, count, checkpoint, threads, workers), repeats)
        click.echo(table(found))
        write_figures(out, found, found["environment"], name or bundle.name)


@click.command()
@bundle_argument
@image_option
@repeats_option(50)
@out_option
def runtime_cost(bundle: Path, image: Path | None, repeats: int, out: Path | None) -> None:
    """Measure what the runtime adds to the engine with BUNDLE: import, load, decoding, packing. Linux only."""
    from ._runtime_cost import measure

    with readable_errors():
        found = measure(bundle, image, repeats)
        for name, value in found["figures"].items():
            click.echo(f"{name:28} {value:10.3f}")
        write_figures(out, found, found["environment"])


@click.command()
@bundle_argument
@image_option
@threads_option
@repeats_option(3)
@added_out_option
@click.option("--name", help="Entry of the figures in --out.  [default: the bundle's name]")
def cold_start(
    bundle: Path, image: Path | None, threads: int, repeats: int, out: Path | None, name: str | None
) -> None:
    """Start with BUNDLE in fresh processes, one by one, and report the events of the median one. Linux only."""
    prepare_libraries()
    from ._cold_start import measure_starts, table

    with readable_errors():
        figures = measure_starts(bundle, image, threads, repeats)
        click.echo(table(figures))
        write_figures(out, figures, figures["environment"], name or bundle.name)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--python", required=True, type=READABLE, help="Python of the environment that vLLM is installed in.")
@threads_option
@repeats_option(3)
@out_option
def vllm_peer(folder: Path, python: Path, threads: int, repeats: int, out: Path | None) -> None:
    """Time vLLM, PyTorch and the bundles of FOLDER, of yoj-bench make for Qwen3-VL, in turns on one request of text."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    prepare_libraries()
    from ._vllm_peer import measure, table
    from ._workbench import open_workbench

    with readable_errors():
        found = measure(open_workbench(folder, threads, "cpu", None), python, threads, repeats)
        click.echo(table(found))
        write_figures(out, found, found["environment"])
