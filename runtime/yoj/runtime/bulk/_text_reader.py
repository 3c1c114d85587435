"""Rows of files of JSON lines, plain or compressed, a bounded number of them in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import RequestError
from ..lines import Numbered, iter_lines
from ..strict_json import Fields, parse_object
from ._reading import BLOCK_BYTES, BLOCK_ROWS, WHOLE, Names, Values, row_of_fields
from ._rows import ShardRow
from ._shards import ShardError


class TextReader:
    """Reader of one file of JSON lines; see `Reader`. Each row has fields of its own."""

    types = None

    def __init__(self, file: Path, names: Names):
        self._path, self._names = file, names

    def count(self) -> int:
        """Count the rows, for which the whole file is read."""
        return sum(1 for _ in self._lines())

    @property
    def not_read(self) -> Sequence[str]:
        """No columns: a field that is no part of a request is an error, unless it is ignored on request."""
        return ()

    def rows(self) -> Iterator[ShardRow]:
        """Rows to be scored, in order."""
        for line in self._lines():
            fields = self._fields(line) if self._names.rename else None
            if fields is None:
                yield ShardRow(line.number, line.digest, line.text)
            else:
                yield row_of_fields(line.number, fields)

    def values(self, columns: Sequence[str]) -> Iterator[Values]:
        """Lists of values, in order; null where a row cannot be read. `WHOLE` gives all fields of the row."""
        numbers: list[int] = []
        lists: dict[str, list[Any]] = {name: [] for name in columns}
        size = 0
        for line in self._lines():
            fields = self._fields(line) or {}
            for name, values in lists.items():
                values.append(fields if name == WHOLE else fields.get(name))
            numbers.append(line.number)
            size += len(line.text)
            if len(numbers) == BLOCK_ROWS or size > BLOCK_BYTES:
                yield Values(numbers, lists)
                numbers, size = [], 0
                lists = {name: [] for name in columns}
        yield Values(numbers, lists)

    def _fields(self, line: Numbered) -> Fields | None:
        """Fields of a line, renamed; None where it holds no object."""
        try:
            fields = parse_object(line.text)
        except RequestError:
            return None
        if self._names.rename:
            self._names.check([*fields], f"line {line.number}: ")
        return {self._names.rename.get(name, name): value for name, value in fields.items()}

    def _lines(self) -> Iterator[Numbered]:
        try:
            with self._path.open("rb") as stream:
                yield from iter_lines(stream, "it")
        except OSError as error:
            raise ShardError(f"it cannot be read: {error.strerror or error}") from error
        except RequestError as error:
            raise error if isinstance(error, ShardError) else ShardError(str(error).rstrip(".")) from error
