"""The README's table of speed, written from what a bench found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import click

from .results import Judge, Results, Saving, Start, ranked, rival
from .tables import (
    Table,
    counted,
    megabytes,
    milliseconds,
    number,
    over_weights,
    plain,
    times,
    unranked,
    why_not,
)

BEGIN = "<!-- bench: begin -->"
END = "<!-- bench: end -->"
MACHINE = {"machine": "{}", "cpu": "{}", "cores": "{} cores"}
"""Entries of the environment, and how they are said."""
VERSIONS = ("python", "torch", "onnxruntime", "transformers")


def readme_table(results: Results) -> str:
    """Markdown: for each judge what was run, the contestants, what one pass saves and what a process holds."""
    parts: list[str] = []
    for judge in results.judges:
        tables = [_contestants(judge), _savings(judge.savings), _starts(judge.starts)]
        parts += [_line(judge, results.environment), *(_markdown(table) for table in tables if table.rows)]
    return "\n\n".join(parts)


def update(readme: Path, results: Results) -> None:
    """Replace what stands between the two markers, each on a line of its own.

    Raises:
        click.ClickException: the file cannot be read, or a marker is missing, doubled or out of order.
    """
    try:
        lines = readme.read_bytes().decode("utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{readme} cannot be read: {error}.") from error
    places = {marker: [n for n, line in enumerate(lines) if line.strip() == marker] for marker in (BEGIN, END)}
    for marker, found in places.items():
        if len(found) != 1:
            where = f", on lines {', '.join(str(n + 1) for n in found)}" if found else ""
            raise click.ClickException(
                f"{readme} has the line {marker} {counted(len(found), 'time')}{where}. Put {BEGIN} and {END} once "
                "each, on lines of their own, where the table shall stand."
            )
    (begin,), (end,) = places.values()
    if end < begin:
        raise click.ClickException(
            f"{readme} has {END} on line {end + 1}, before {BEGIN} on line {begin + 1}. Swap them."
        )
    table = f"\n{readme_table(results)}\n\n"
    readme.write_bytes("".join([*lines[: begin + 1], table, *lines[end:]]).encode("utf-8"))


def _line(judge: Judge, environment: Mapping[str, Any]) -> str:
    """What was run, and on what."""
    model, shape = judge.model, judge.shape
    ran = (
        f"**{_text(model.name)}**, {counted(model.layers, 'layer')}, D={model.D:,}, {model.parameters / 1e6:,.1f} M "
        f"parameters; L={shape.L:,}, N={shape.N}, {counted(shape.threads, 'thread')}"
    )
    machine = [words.format(environment[key]) for key, words in MACHINE.items() if key in environment]
    versions = [f"{key} {environment[key]}" for key in VERSIONS if key in environment]
    date = [str(environment["date"])] if "date" in environment else []
    about = [_text(", ".join(part)) for part in (machine, versions, date) if part]
    return "; ".join([ran, *about])


def _contestants(judge: Judge) -> Table:
    rows = [(c, times(rival(judge, c), c)) for c in ranked(judge)] + [(c, why_not(c)) for c in unranked(judge)]
    return Table(
        "",
        ("contestant", "precision", "way", "ms", "times the best PyTorch that reads likewise", "score difference"),
        tuple(
            (c.name, c.precision, c.way, milliseconds(c.time), compared, f"{c.difference:.1e}") for c, compared in rows
        ),
        left=(0, 1, 2),
    )


def _savings(savings: Sequence[Saving]) -> Table:
    rows = tuple((str(s.N), number(s.predicted), number(s.measured), number(s.engine)) for s in savings)
    heads = (
        "N",
        "one pass saves, predicted (times)",
        "measured in PyTorch bfloat16",
        "yoj float32 against N PyTorch bfloat16 passes",
    )
    return Table("", heads, rows, left=())


def _starts(starts: Sequence[Start]) -> Table:
    rows = tuple((s.bundle, s.precision, megabytes(s.resident), megabytes(s.weights), over_weights(s)) for s in starts)
    heads = ("bundle", "precision", "resident MB after a score", "weights MB", "resident/weights")
    return Table("", heads, rows, left=(0, 1))


def _markdown(table: Table) -> str:
    rules = ["---" if number in table.left else "---:" for number in range(len(table.heads))]
    return "\n".join(f"| {' | '.join(map(_text, row))} |" for row in (table.heads, rules, *table.rows))


def _text(text: str) -> str:
    """As a cell shows it; ``<`` too, as a name must not be able to end the part between the markers."""
    return escape(plain(text), quote=False).replace("|", "\\|").replace("`", "\\`").replace("*", "\\*")
