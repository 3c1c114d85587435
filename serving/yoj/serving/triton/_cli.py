"""``yoj-serve triton``: a bundle as models of Triton."""

from __future__ import annotations

from pathlib import Path

import click

from yoj.runtime.options import HubFolder, readable_errors

from .._options import Finite, engine_option, model_name, threads_option

FORMS = {
    "json": "one request of the codec as BYTES, as yoj-score reads it",
    "tensors": "PROMPT, RESPONSES and IMAGES as BYTES, scores as FP32",
    "utf8": "as json, in UINT8, for a Python backend that is older than the NumPy beside it",
}
"""Form of requests -> what it is."""


@click.command(name="triton")
@click.argument("bundle", type=HubFolder("bundle"))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Model repository.")
@click.option("--name", help="Name of the JSON model; the others have _ and the form after it.  [default: BUNDLE's]")
@click.option(
    "--form",
    "forms",
    type=click.Choice(list(FORMS)),
    multiple=True,
    default=("json", "tensors"),
    show_default=True,
    help="Form of requests to write a model for; may be repeated. "
    + "; ".join(f"{form}: {what}" for form, what in FORMS.items())
    + ".",
)
@engine_option
@click.option("--precision", help="Precision of the engine, such as int8.  [default: the first of the bundle]")
@threads_option
@click.option(
    "--instances",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Copies of each model, each with the weights in a process of its own.",
)
@click.option(
    "--max-batch", type=click.IntRange(min=1), default=16, show_default=True, help="Most requests scored together."
)
@click.option(
    "--max-queue",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Most requests that wait for a model; one more is refused as unavailable.",
)
@click.option(
    "--max-delay",
    type=Finite(min=0),
    default=0.0,
    show_default=True,
    help="Most milliseconds that a request waits for others, to be scored with them. Without it those are that came "
    "while the batch before was scored.",
)
@click.option("--copy", is_flag=True, help="Copy BUNDLE into the repository instead of naming its place.")
def triton(
    bundle: Path,
    out: Path,
    name: str | None,
    forms: tuple[str, ...],
    engine: str | None,
    precision: str | None,
    threads: int | None,
    instances: int,
    max_batch: int,
    max_queue: int,
    max_delay: float,
    copy: bool,
) -> None:
    """Write models of NVIDIA's Triton Inference Server that score with BUNDLE, through its Python backend.

    \b
    Example:
      yoj-serve triton judge.yoj --out repository/
      tritonserver --model-repository repository/

    BUNDLE is a folder or org/name@revision of the Hugging Face hub. The server's Python needs the runtime alone:
    pip install 'yoj[ort]'.
    """
    from ._repository import TritonSettings, write_repository

    with readable_errors():
        settings = TritonSettings(
            name=name or model_name(bundle),
            forms=tuple(dict.fromkeys(forms)),
            engine=engine,
            precision=precision,
            threads=threads,
            instances=instances,
            max_batch=max_batch,
            max_queue=max_queue,
            max_delay=max_delay / 1000,
            copy=copy,
        )
        written = write_repository(bundle, out, settings)
    for folder, form in zip(written, settings.forms, strict=True):
        click.echo(f"wrote {folder}: {FORMS[form]}")
    if not copy:
        click.echo(f"they read {bundle.resolve()}, which must be there for the server too (or give --copy)")
    click.echo(f"start the server with: tritonserver --model-repository {out.resolve()}")
