"""Readers of shards: what is the same for JSON lines and for tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import msgspec

from ..codec import Ignore
from ..strict_json import Fields
from ._rows import ShardRow
from ._shards import ShardError

WHOLE = "*"
"""Name that stands for all fields of a row of JSON."""
BLOCK_ROWS = 1024
BLOCK_BYTES = 16 * 2**20
"""Size of the rows that are held at once."""


@dataclass(frozen=True)
class Names:
    """Names by which columns are read."""

    rename: Mapping[str, str]
    """Name in the file -> name by which the column is read and kept."""
    ignore: Ignore

    def check(self, names: Sequence[str], where: str = "") -> list[str]:
        """Rename the columns of a file, or the fields of the row that ``where`` names.

        Raises:
            ShardError: two of them have one name then.
        """
        renamed = [self.rename.get(name, name) for name in names]
        twice = next((name for name in renamed if renamed.count(name) > 1), None)
        if twice is not None:
            raise ShardError(
                f"{where}several columns are called {twice!r}, renamed ones included. Give --rename OLD=NEW"
            )
        return renamed


@dataclass(frozen=True)
class Values:
    """Values of some columns of successive rows."""

    numbers: Sequence[int]
    """Numbers of the rows."""
    columns: Mapping[str, Any]
    """Name -> list of values, or array of pyarrow."""


class Reader(Protocol):
    """Reader of one shard. All of its methods raise a `ShardError` that names no shard where the file is at fault."""

    def count(self) -> int:
        """Count the rows, for which JSON lines are all read."""
        ...

    @property
    def not_read(self) -> Sequence[str]:
        """Columns that are no part of a request."""
        ...

    @property
    def types(self) -> Mapping[str, Any] | None:
        """Columns by the names of `Names` and their types of pyarrow; None where each row has its own."""
        ...

    def rows(self) -> Iterator[ShardRow]:
        """Rows to be scored, in order."""
        ...

    def values(self, columns: Sequence[str]) -> Iterator[Values]:
        """Values of columns, in order, null where a row has none."""
        ...


def plain(column: Any) -> list[Any]:
    """Values of a column as a list.

    Raises:
        ShardError: Python cannot hold one.
    """
    if isinstance(column, list):
        return cast("list[Any]", column)
    try:
        return column.to_pylist()
    except ValueError as error:  # such as times in nanoseconds
        raise ShardError(f"a column of the type {column.type} has a value that Python cannot hold: {error}") from error


def row_of_fields(number: int, fields: Fields) -> ShardRow:
    """Row of fields that no line of JSON holds as they are."""
    packed = msgspec.msgpack.encode(fields, enc_hook=repr)
    return ShardRow(number, hashlib.sha256(packed).hexdigest()[:16], None, fields)
