"""Columns of results: which there are, and their types in tables, the same in every shard of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ..codec import Line
from ..error_texts import shorten
from ..result_columns import JSON, JUDGEMENT, arrow_type
from ._arrow import arrow
from ._reading import WHOLE, Reader
from ._selection import RowSelection
from ._shards import ShardError

ABOUT = {"line": "int64", "request": "text", "run": "text", "id": JSON, "metadata": JSON, "right": "bool"}
ERROR = {"error": "text", "error_type": "text"}
INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
TEXTS = {"string", "large_string", "string_view"}
"""Names of types of pyarrow."""
KNOCKOUT = {"best": "int32", "won": ["int32"], "passes": "int32", "duplicates": ["int32"], "notices": ["text"]}
RATIONALES = {"rationales": [{"response": "int32", "text": "text", "stopped": "bool"}]}
BEST = {"response": JSON, "index": "int32", "score": "float32", "margin": "float64"}
TOP = {"top_responses": [JSON], "top_indices": ["int32"], "top_scores": ["float32"], "margin": "float64"}


@dataclass(frozen=True)
class ResultColumns:
    """Kind of results that a run writes."""

    selection: RowSelection = RowSelection()  # noqa: RUF009  (frozen)
    knockout: bool = False
    rationales: bool = False

    @property
    def columns(self) -> dict[str, Any]:
        """Column -> its type, in their order."""
        if self.selection.responses:
            return ABOUT | (BEST if self.selection.best else TOP) | ERROR
        judged = KNOCKOUT if self.knockout else JUDGEMENT
        return ABOUT | judged | (RATIONALES if self.rationales else {}) | ERROR


@dataclass(frozen=True)
class TableColumns:
    """Columns of the tables of a run."""

    results: ResultColumns
    kept: Sequence[str]
    """Columns of the input."""
    types: Mapping[str, Any] | None
    """Types of the input's columns; None for rows of JSON, whose values are written as texts."""

    def schema(self, name: str) -> Any:
        """Schema of pyarrow; ``name`` is that of the file which needs it."""
        package, _ = arrow(name)
        columns = [(column, self._type(package, column, said)) for column, said in self.results.columns.items()]
        columns += [(column, package.string() if self.types is None else self.types[column]) for column in self.kept]
        return package.schema(columns)

    def check(self, reader: Reader, first: str) -> None:
        """Check that a shard's results can be a table of the same schema.

        Args:
            reader: reader of the shard.
            first: name of the shard whose columns these are.

        Raises:
            ShardError: the shard has another schema.
        """
        own, types = reader.types, self.types
        used = [*self.kept, *(["responses"] if self.results.selection.responses else []), "id"]
        if own is None or types is None:
            if (own is None) != (types is None):
                raise ShardError(
                    f"it is {'a table' if types is None else 'JSON lines'}, and {first} is not, so that tables of "
                    "their results would differ. Score them into different folders, or give --format jsonl"
                )
            return
        for column in used:
            if not _fits(own.get(column), types.get(column), column):
                raise ShardError(
                    f"the column {column!r} is {_shown(own.get(column))} here and {_shown(types.get(column))} in "
                    f"{first}, so that tables of their results would differ. Write the shard again with that type, "
                    "score it into another folder, or give --format jsonl"
                )

    def _type(self, package: Any, column: str, said: Any) -> Any:
        given = self.types or {}
        if column == "id" and "id" in given and package.types.is_integer(given["id"]):
            return given["id"]
        if column in ("response", "top_responses") and "responses" in given:
            within = getattr(given["responses"], "value_type", package.string())
            return within if column == "response" else package.list_(within)
        return arrow_type(package, said)


def _fits(own: Any, wanted: Any, column: str) -> bool:
    """Whether values of one type are written as another without loss."""
    if own == wanted:
        return True
    if column == "id":  # texts stand for all others
        return own is None or _is_null(own) or wanted is None or not _is_integer(wanted) or _is_integer(own)
    if own is None or wanted is None:
        return False
    if _is_null(own):
        return True
    if _is_integer(own) and _is_integer(wanted):
        return str(own)[0] == str(wanted)[0] and own.bit_width <= wanted.bit_width
    if _is_text(own) and _is_text(wanted):
        return True
    of = getattr(own, "value_type", None), getattr(wanted, "value_type", None)
    lists = all("list" in str(kind).partition("<")[0] for kind in (own, wanted))
    return lists and None not in of and _fits(*of, column)


def _is_null(kind: Any) -> bool:
    return str(kind) == "null"


def _is_integer(kind: Any) -> bool:
    return str(kind) in INTEGERS


def _is_text(kind: Any) -> bool:
    return str(kind) in TEXTS


def kept_columns(keep: Sequence[str], reader: Reader, results: ResultColumns) -> list[str]:
    """Columns of a shard that its results have too.

    Args:
        keep: names on the command line; ``all`` for all but those that results have of their own.
        reader: reader of the shard.
        results: results of the run.

    Raises:
        ShardError: a column is not there, or has the name of one of the results.
    """
    if "all" not in keep:
        names = [*dict.fromkeys(keep)]
    elif reader.types is None:
        _check_fields(reader, results)
        return [WHOLE]
    else:
        names = [name for name in reader.types if name not in results.columns or name not in Line.__struct_fields__]
    clash = next((name for name in names if name in results.columns), None)
    if clash is not None:
        raise ShardError(_clash(clash))
    missing = [name for name in names if reader.types is not None and name not in reader.types]
    if missing:
        there = shorten(", ".join(map(repr, reader.types or ())), 300)
        raise ShardError(
            f"there is no column {missing[0]!r} to keep; there are {there}. All shards keep the columns of the first: "
            "name with --keep those that all have, or write JSON lines with --format jsonl"
        )
    return names


def _check_fields(reader: Reader, results: ResultColumns) -> None:
    owned = results.columns.keys() - {*Line.__struct_fields__}
    for block in reader.values((WHOLE,)):
        for number, fields in zip(block.numbers, block.columns[WHOLE], strict=True):
            if clash := owned & fields.keys():
                raise ShardError(f"line {number}: {_clash(min(clash))}")


def _clash(name: str) -> str:
    return f"{name!r} would be kept, and results have a column of this name. Give --rename {name}=OTHER"


def _shown(kind: Any) -> str:
    return "missing" if kind is None else f"of the type {shorten(str(kind), 120)}"


def in_table(result: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a result as columns of a table have them: an error is its text and its type."""
    error = result.get("error")
    if error is None:
        return dict(result)
    return {**result, "error": error["message"], "error_type": error["type"]}


def to_text(value: Any) -> str | None:
    """Text of a JSON value: itself where it is one, null where it is null."""
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
