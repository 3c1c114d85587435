"""Options of every command that reads a file of requests."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .codec import Reading
from .fields import Ignore
from .request import Overflow, Placeholders
from .sources import policy_of_files


@dataclass(frozen=True)
class Given:
    """What the options of `reading_options` said."""

    media_root: Path | None = None
    ignore: Ignore = Ignore()  # noqa: RUF009  (frozen)
    hosts: frozenset[str] = frozenset()

    def reading(self, folder: Path, overflow: Overflow = "error", placeholders: Placeholders = "error") -> Reading:
        """How the requests of a file in ``folder`` are read."""
        return Reading(policy_of_files(folder, self.media_root, self.hosts), self.ignore, overflow, placeholders)


def reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``given``, where media are looked for and which fields are passed over."""
    options = [
        click.option(
            "--media-root",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Media may come from this folder; relative paths begin at the folder of the file where that lies in "
            "it, else here.  [default: the folder of the file]",
        ),
        click.option(
            "--ignore-field", "fields", multiple=True, metavar="NAME", help="Pass a field over; may be repeated."
        ),
        click.option("--ignore-unknown", is_flag=True, help="Pass over all fields that are not read."),
    ]

    @functools.wraps(command)
    def wrapped(
        *args: Any, media_root: Path | None, fields: tuple[str, ...], ignore_unknown: bool, **rest: Any
    ) -> None:
        command(*args, given=Given(media_root, Ignore(frozenset(fields), ignore_unknown)), **rest)

    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped
