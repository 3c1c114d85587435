"""Rows of Parquet files, a bounded number of them in memory."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .._fields import nearest
from ..codec import Line
from ..error_texts import shorten
from ._arrow import arrow
from ._reading import BLOCK_BYTES, BLOCK_ROWS, Names, Values, plain, row_of_fields
from ._rows import ShardRow
from ._shards import ShardError

BUFFER = 2**20
"""Bytes of a column that are read at once; without it pyarrow holds those of a whole row group."""
PICTURES = re.compile(r"struct<bytes: (large_)?binary, path: ")
"""Type of a column of pictures, as data sets of Hugging Face have them."""
SMALLEST = 16
"""Fewest rows that are held at once."""
ALIASES = {"images": "image", "messages": "prompt"}
"""Other names of columns, as data sets of Hugging Face have them."""


class TableReader:
    """Reader of one Parquet file; see `Reader`."""

    def __init__(self, file: Path, names: Names):
        """Read the schema.

        Raises:
            ShardError: the file is damaged, or has no prompt or no responses.
            RequestError: pyarrow is not installed.
        """
        self._arrow, parquet = arrow(str(file))
        with self._readable():
            self._file = parquet.ParquetFile(
                file, buffer_size=BUFFER, pre_buffer=False, page_checksum_verification=True
            )
        schema = self._file.schema_arrow
        columns = names.check(schema.names)
        self._named: dict[str, str] = dict(zip(columns, schema.names, strict=True))
        self.types: Mapping[str, Any] = dict(zip(columns, schema.types, strict=True))
        self._fields = self._find_fields(names)
        self.not_read: Sequence[str] = [name for name in columns if name not in self._fields.values()]
        self._check_pictures(names)

    def _check_pictures(self, names: Names) -> None:
        """Refuse pictures that are not read, where the judge would be shown none at all.

        Raises:
            ShardError: there are such; pictures within prompts or responses count as shown.
        """
        told = [str(self.types[column]) for column in self._fields.values()]
        if {"image", "video"} & {*self._fields} or any(kind.count("struct<") for kind in told):
            return
        unread = [name for name in self.not_read if PICTURES.search(str(self.types[name]))]
        name = next((name for name in unread if name not in names.ignore.fields), None)
        if name is not None and not names.ignore.unknown:
            raise ShardError(
                f"the column {name!r} holds pictures, and none is read. Give --rename {name}=image, or --ignore-field "
                f"{name} where the judge is not to see them"
            )

    def count(self) -> int:
        """Count the rows, as the file states them."""
        return self._file.metadata.num_rows

    def rows(self) -> Iterator[ShardRow]:
        """Rows to be scored, in order."""
        fields = list(self._fields)
        for block in self.values([*self._fields.values()]):
            lists = [plain(column) for column in block.columns.values()]
            for number, values in zip(block.numbers, zip(*lists, strict=True), strict=True):
                given = {name: value for name, value in zip(fields, values, strict=True) if value is not None}
                yield row_of_fields(number, given)

    def values(self, columns: Sequence[str]) -> Iterator[Values]:
        """Arrays of columns, in order."""
        missing = [name for name in columns if name not in self._named]
        if missing:
            raise ShardError(f"there is no column {', '.join(map(repr, missing))}; there are {self._there()}")
        number = 1
        asked = [self._named[name] for name in columns]
        with self._readable():
            for batch in self._file.iter_batches(self._block(), columns=asked, use_threads=False):
                arrays = {name: batch.column(self._named[name]) for name in columns}
                yield Values(range(number, number + batch.num_rows), arrays)
                number += batch.num_rows
        if number != self.count() + 1:
            raise ShardError(f"{number - 1} of its {self.count()} rows can be read")

    def _find_fields(self, names: Names) -> dict[str, str]:
        """Columns of the fields of a request."""
        known = {*Line.__struct_fields__, *ALIASES} - names.ignore.fields
        found: dict[str, str] = {}
        for column in self._named:
            if column not in known:
                continue
            field = ALIASES.get(column, column)
            if field in found:
                raise ShardError(
                    f"the columns {found[field]!r} and {column!r} say the same. Leave one out: --ignore-field {column}"
                )
            found[field] = column
        for field in ("prompt", "responses"):
            if field not in found:
                like = next((name for name in self._named if nearest(name, (field,))), None)
                advice = f". Give --rename {like or 'COLUMN'}={field}"
                raise ShardError(f"there is no column {field!r}; there are {self._there()}{advice}")
        # In the order of the fields, so that rows of shards with other orders of columns have the same digests.
        return {field: found[field] for field in Line.__struct_fields__ if field in found}

    def _there(self) -> str:
        return shorten(", ".join(map(repr, self._named)), 300) or "none"

    def _block(self) -> int:
        """Rows that are held at once."""
        groups = [self._file.metadata.row_group(k) for k in range(self._file.metadata.num_row_groups)]
        largest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1)
        return max(SMALLEST, min(BLOCK_ROWS, int(BLOCK_BYTES / max(1, largest))))

    @contextmanager
    def _readable(self) -> Generator[None]:
        try:
            yield
        except (self._arrow.ArrowException, OSError) as error:
            raise ShardError(f"it cannot be read as Parquet: {error}") from error
