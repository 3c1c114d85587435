"""Arguments and options that several commands of ``yoj-bench`` have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
FILE = click.Path(dir_okay=False, path_type=Path)
READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
KIND = "{kind} in its name becomes the kind of CPU, such as avx2."
out_option = click.option("--out", type=FILE, help=f"Write the figures to this file, as JSON; {KIND}")
added_out_option = click.option(
    "--out", type=FILE, help=f"Add the figures to this JSON file, which keeps its others; {KIND}"
)
threads_option = click.option(
    "--threads", default=os.cpu_count(), show_default=True, type=click.IntRange(1, os.cpu_count()),
    help="Threads of each run.",
)  # fmt: skip
image_option = click.option("--image", type=READABLE, help="A picture that the prompt is about.")
bundle_argument = click.argument("bundle", type=FOLDER)


def repeats_option(default: int) -> Decorator:
    """Option ``--repeats``, the number of counted runs, with this default."""
    return click.option(
        "--repeats", default=default, show_default=True, type=click.IntRange(min=1), help="Counted runs of each."
    )
