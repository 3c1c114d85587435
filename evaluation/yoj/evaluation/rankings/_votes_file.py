"""Files of votes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yoj.runtime import RequestError
from yoj.runtime.error_texts import shorten
from yoj.runtime.rows import Row, read_rows
from yoj.runtime.strict_json import check_values

from .._errors import EvaluationError
from .comparisons import Comparisons, Name, Vote, count_votes

OF_TWO = ("a", "b", "winner")
OF_MORE = ("ranking",)
COMMON = ("item", "annotator")
FORM = (
    'A vote is {"item": ..., "a": NAME, "b": NAME, "winner": "a", "b" or "tie", "annotator": NAME}, or {"item": ..., '
    '"ranking": [NAME, ...], "annotator": NAME} with the best first; item and annotator may be left out.'
)
SHOWN = 10
"""Most wrong lines, items or fields that an error shows."""


def read_votes(file: Path, together: bool = False) -> list[Comparisons]:
    """Read a file of votes and count them for each item.

    Args:
        file: JSON lines, a JSON array or Parquet.
        together: whether the votes on all items count as votes on one.

    Returns:
        Votes of each item, in the order in which the items come in the file.

    Raises:
        EvaluationError: there are no votes, lines are no votes, some name an item and others do not, or an item is
            named both by a number and by a text.
        RequestError: the file cannot be read.
    """
    items: dict[Name | None, list[Vote]] = {}
    first: dict[Name | None, int] = {}
    problems: list[str] = []
    lines = 0
    for row in read_rows(file):
        lines += 1
        try:
            item, vote = _vote(row)
        except (EvaluationError, RequestError) as error:
            problems.append(f"line {row.number}: {error}")
            continue
        items.setdefault(item, []).append(vote)
        first.setdefault(item, row.number)
    if problems:
        raise EvaluationError(listed(f"{file}: {len(problems)} of {lines} lines are no votes", problems, FORM))
    if not items:
        raise EvaluationError(f"{file} is empty. {FORM}")
    if together:
        return [count_votes(None, (vote for votes in items.values() for vote in votes))]
    if None in items and len(items) > 1:
        raise EvaluationError(
            f"{file}: {len(items[None])} of {lines} votes name no item, the others do. Name it in each, or rank all "
            "together with --by all."
        )
    _check_names(file, first)
    return [count_votes(item, votes) for item, votes in items.items()]


def _check_names(file: Path, first: Mapping[Name | None, int]) -> None:
    """Refuse 3 beside "3": they would be two items whose names are the same in ids and tables.

    Args:
        file: file that the items are of.
        first: line of the first vote on each item.
    """
    problems = [
        f"item {item} in line {number}, item {json.dumps(str(item))} in line {first[str(item)]}"
        for item, number in first.items()
        if isinstance(item, int) and str(item) in first
    ]
    if problems:
        what = f"{file}: {len(problems)} items are named both by a number and by a text"
        fix = "Write each name the same way in all lines, or other names where they are different items."
        raise EvaluationError(listed(what, problems, fix))


def listed(what: str, problems: list[str], fix: str) -> str:
    """Text of an error that shows the first of many problems."""
    more = f"\n... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return f"{what}:\n" + "\n".join(problems[:SHOWN]) + f"{more}\n{fix}"


def fields_of(row: Row) -> Mapping[str, Any]:
    """Fields of a row whose values are not null.

    Raises:
        EvaluationError: the row is no object.
        RequestError: a value is none that JSON can hold.
    """
    if isinstance(row.fields, str):
        raise EvaluationError(row.fields)
    check_values(row.fields)
    return {name: value for name, value in row.fields.items() if value is not None}


def item_of(fields: Mapping[str, Any]) -> Name | None:
    """Name of the item of a row; None where it has none.

    Raises:
        EvaluationError: the name is no text or whole number.
    """
    item = fields.get("item")
    if isinstance(item, bool) or not isinstance(item, str | int | None):
        raise EvaluationError(f"item is {shorten(repr(item))}; give a text or a whole number.")
    return item


def _vote(row: Row) -> tuple[Name | None, Vote]:
    fields = fields_of(row)
    needed = OF_MORE if "ranking" in fields else OF_TWO
    if missing := [name for name in needed if name not in fields]:
        raise EvaluationError(f"The vote has no {' and no '.join(missing)}.")
    if unknown := [name for name in fields if name not in (*needed, *COMMON)]:
        names = ", ".join(shorten(repr(name), 40) for name in unknown[:SHOWN])
        raise EvaluationError(f"The vote has the field {names}, which is not read. Leave it out.")
    annotator = fields.get("annotator")
    if annotator is not None and not isinstance(annotator, str | int):
        raise EvaluationError(f"annotator is {shorten(repr(annotator))}; give a text.")
    ranked, tied = _list(fields["ranking"]) if "ranking" in fields else _pair(fields)
    return item_of(fields), Vote(ranked, tied, None if annotator is None else str(annotator))


def _pair(fields: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    pair = _name(fields["a"], "a"), _name(fields["b"], "b")
    winner = fields["winner"]
    if winner not in ("a", "b", "tie"):
        raise EvaluationError(f"winner is {shorten(repr(winner))}; give 'a', 'b' or 'tie'.")
    return (pair[::-1] if winner == "b" else pair), winner == "tie"


def _list(value: object) -> tuple[tuple[str, ...], bool]:
    if not isinstance(value, list):
        raise EvaluationError(f"ranking is {shorten(repr(value))}; give a list of names, the best first.")
    return tuple(_name(name, f"ranking[{place}]") for place, name in enumerate(value)), False


def _name(value: object, field: str) -> str:
    if not isinstance(value, str) or not value:
        raise EvaluationError(f"{field} is {shorten(repr(value))}; give the name of a candidate.")
    return value
