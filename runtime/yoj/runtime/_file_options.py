"""Options of ``yoj-score`` for many files, and for files of other forms than JSON lines."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

import click

Format: TypeAlias = Literal["jsonl", "jsonl.gz", "jsonl.zst", "parquet"]
SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".jsonl.gz": "jsonl.gz",
    ".json.gz": "jsonl.gz",
    ".jsonl.zst": "jsonl.zst",
    ".json.zst": "jsonl.zst",
    ".parquet": "parquet",
}
"""Ends of names -> format of the file."""
PARQUET = b"PAR1"
"""Beginning of every Parquet file."""


@dataclass(frozen=True)
class FileOptions:
    """Values of the options that `file_options` adds."""

    format: Format | None = None
    """Format of the results; None for that of the input."""
    keep: tuple[str, ...] = ()
    """Columns of the input that results have too; ``all`` for all of them."""
    rename: tuple[tuple[str, str], ...] = ()
    """Pairs of a column's name in the input and the name by which it is read."""
    best: bool = False
    """Whether results are the best response of each row."""
    top: int | None = None
    """Number of best responses that results are, as lists; None for judgements."""
    min_margin: float | None = None
    """Least margin of a row that is not left out; None for all rows."""
    part: tuple[int, int] | None = None
    """Pair (i, n): of n parts of the shards the i-th, from 1."""


def suffix_of(path: Path) -> str:
    """End of a name that is one of `SUFFIXES`, or an empty text."""
    name = path.name.lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="")


def is_bulk(inputs: tuple[str, ...], out: str | None, options: FileOptions) -> bool:
    """Whether inputs are scored shard by shard, rather than as one file of JSON lines to another."""
    if len(inputs) != 1 or options != FileOptions():
        return True
    if inputs == ("-",):
        return out is not None and SUFFIXES.get(suffix_of(Path(out)), "jsonl") != "jsonl"  # which is refused there
    path = Path(inputs[0])
    if not path.exists() or path.is_dir():
        return True
    if out is not None and (
        out.endswith(("/", os.sep)) or Path(out).is_dir() or SUFFIXES.get(suffix_of(Path(out)), "jsonl") != "jsonl"
    ):
        return True
    if not path.is_file():  # a pipe, of which nothing may be read twice
        return False
    with path.open("rb") as stream:
        return stream.read(len(PARQUET)) == PARQUET or SUFFIXES.get(suffix_of(path)) == "parquet"


def _pairs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = [value.partition("=")[::2] for value in values]
    if any(not old or not new for old, new in pairs) or len({old for old, _ in pairs}) < len(pairs):
        raise click.BadParameter("give OLD=NEW, once for each column, such as question=prompt.", ctx, parameter)
    return tuple((old, new) for old, new in pairs)


def _part(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    first, _, second = value.partition("/")
    if not (first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise click.BadParameter(f"{value!r} is no part; give I/N, from 1/N to N/N.", ctx, parameter)
    return int(first), int(second)


def file_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with options for many files, passed to it as ``files``."""
    options = [
        click.option(
            "--format",
            type=click.Choice(["jsonl", "jsonl.gz", "jsonl.zst", "parquet"]),
            help="Format of the results.  [default: that of the input]",
        ),
        click.option(
            "--keep",
            multiple=True,
            metavar="COLUMN",
            help="Write this column of the input beside the results; may be repeated. all keeps all.",
        ),
        click.option(
            "--rename",
            multiple=True,
            metavar="OLD=NEW",
            callback=_pairs,
            help="Read the column OLD under the name NEW, such as question=prompt; may be repeated.",
        ),
        click.option("--best", is_flag=True, help="Write the best response of each row instead of the judgement."),
        click.option("--top", type=click.IntRange(min=1), help="Write this many best responses of each row, as lists."),
        click.option(
            "--min-margin",
            type=click.FloatRange(min=0),
            help="Leave out rows whose best response is ahead of the next by less than this, and rows that failed.",
        ),
        click.option(
            "--shard",
            "part",
            metavar="I/N",
            callback=_part,
            help="Score the I-th of N parts of the shards, for a scheduler that starts N such commands.",
        ),
    ]

    @functools.wraps(command)
    def wrapped(*args: Any, **values: Any) -> None:
        given = FileOptions(**{field.name: values.pop(field.name) for field in fields(FileOptions)})
        if given.best and given.top is not None:
            raise click.UsageError("--best writes one response, --top lists: give one of them.")
        command(*args, files=given, **values)

    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped
