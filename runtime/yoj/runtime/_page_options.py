"""Options of ``yoj-score`` for people who look at judgements: a page, and explanations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click


@dataclass(frozen=True)
class PageOptions:
    """Values of the options that `page_options` adds."""

    html: Path | None = None
    """File of the page; None for none."""
    explain: bool = False
    """Whether judgements are explained."""

    def check(self, files: bool, bulk: bool, method: str, dumped: bool, out: str | None) -> None:
        """Check what goes together.

        Args:
            files: whether files of requests are scored, rather than one request.
            bulk: whether they are scored shard by shard.
            method: value of ``--n-method``.
            dumped: whether what the graphs are given is dumped.
            out: value of ``--out``.

        Raises:
            click.UsageError: some of it does not.
        """
        if not self.explain and self.html is None:
            return
        if bulk:
            raise click.UsageError(
                "--html and --explain are for one request, or one file of JSON lines without options of bulk jobs "
                "(--keep, --rename, --format, --best, --top, --min-margin, --shard): leave those out."
            )
        if self.html is not None and str(self.html) == "-":
            raise click.UsageError("--html - is no file: a page is written piece by piece. Name a file.")
        if files and self.html is None:
            raise click.UsageError("--explain of a file is shown in a page alone: give --html too.")
        if method == "knockout":
            raise click.UsageError("--html and --explain show the scores of all responses, which knockout has not.")
        if self.explain and dumped:
            raise click.UsageError("--dump-inputs is of scores alone: leave --explain out.")
        if out is not None and self.html is not None and Path(out).absolute() == self.html.absolute():
            raise click.UsageError("--out and --html name one file: give two.")


def page_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with options for pages and explanations, passed to it as ``page``."""

    @click.option(
        "--html",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write a page to look at: pictures, responses ranked with bars, what was read otherwise, errors, timings "
        "(docs/explanations.md). It loads nothing. With --out it shows lines of earlier runs too.",
    )
    @click.option(
        "--explain",
        is_flag=True,
        help="Say why: the scores with each sentence of the responses left out, and each region of the pictures "
        "covered. Of files in the page of --html alone.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, html: Path | None, explain: bool, **values: Any) -> None:
        command(*args, page=PageOptions(html, explain), **values)

    return wrapped
