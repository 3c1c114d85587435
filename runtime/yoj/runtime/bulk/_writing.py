"""Shards of results: JSON lines or Parquet, whole or not there."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import msgspec

from .._file_options import Format
from .._zstd import zstandard
from ._arrow import arrow
from ._columns import TableColumns, in_table, to_text
from ._reading import WHOLE, plain

GROUP_ROWS = 65536
GROUP_BYTES = 64 * 2**20
"""Size from which rows become a row group."""


@dataclass(frozen=True)
class ResultBlock:
    """Results of some rows, in order."""

    results: Sequence[Mapping[str, Any]]
    kept: Mapping[str, Any]
    """Columns of the input, of the same rows: lists, or arrays of pyarrow."""

    @property
    def lists(self) -> dict[str, list[Any]]:
        """Kept columns as lists."""
        return {name: plain(values) for name, values in self.kept.items()}


class Writer(Protocol):
    """Writer of one shard into a stream, which it leaves open."""

    def write(self, block: ResultBlock) -> None:
        """Write results."""
        ...

    def close(self) -> None:
        """Write what ends the file."""
        ...


def make_writer(stream: BinaryIO, written: Format, table: TableColumns, name: str) -> Writer:
    """Make the writer of a format.

    Args:
        stream: the open file.
        written: format.
        table: columns, of which lines of JSON need none.
        name: name of the file in errors.

    Raises:
        RequestError: a package is not installed.
    """
    if written == "parquet":
        return TableWriter(stream, table, name)
    return LineWriter(stream, written, table, name)


class LineWriter:
    """Writer of JSON lines."""

    def __init__(self, stream: BinaryIO, written: Format, table: TableColumns, name: str):
        self._owned = {*table.results.columns}
        self._stream, self._closes = stream, True
        if written == "jsonl.gz":
            # Neither a name nor a time, so that equal results are equal files.
            self._stream = cast("BinaryIO", gzip.GzipFile("", "wb", 6, stream, 0))
        elif written == "jsonl.zst":
            self._stream = zstandard(name).ZstdCompressor().stream_writer(stream, closefd=False)
        else:
            self._closes = False

    def write(self, block: ResultBlock) -> None:
        """Write results, each with the kept columns behind."""
        lists = block.lists
        lines: list[bytes] = []
        for place, result in enumerate(block.results):
            kept = {name: values[place] for name, values in lists.items()}
            whole: dict[str, Any] = kept.pop(WHOLE, None) or {}
            kept |= {name: value for name, value in whole.items() if name not in self._owned}
            lines.append(msgspec.json.encode({**result, **kept}) + b"\n")
        self._stream.write(b"".join(lines))

    def close(self) -> None:
        """Write what ends the file."""
        if self._closes:
            self._stream.close()


class TableWriter:
    """Writer of Parquet."""

    def __init__(self, stream: BinaryIO, table: TableColumns, name: str):
        self._arrow, parquet = arrow(name)
        self._schema, self._table = table.schema(name), table
        self._writer = parquet.ParquetWriter(stream, self._schema, compression="zstd")
        self._waiting: list[Any] = []

    def write(self, block: ResultBlock) -> None:
        """Write results as rows."""
        rows = [in_table(result) for result in block.results]
        arrays = [
            self._array([row.get(name) for row in rows], self._schema.field(name).type)
            for name in self._table.results.columns
        ]
        for name in self._table.kept:
            kept, kind = block.kept[name], self._schema.field(name).type
            arrays.append(self._array(plain(kept), kind) if isinstance(kept, list) else kept.cast(kind))
        self._waiting.append(self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema))
        count, size = (sum(getattr(batch, of) for batch in self._waiting) for of in ("num_rows", "nbytes"))
        if count >= GROUP_ROWS or size >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what ends the file."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        """Write a row group."""
        if self._waiting:
            self._writer.write_table(self._arrow.Table.from_batches(self._waiting))
            self._waiting = []

    def _array(self, values: Sequence[Any], kind: Any) -> Any:
        types = self._arrow.types
        if types.is_string(kind):
            values = [to_text(value) for value in values]
        elif types.is_list(kind) and types.is_string(kind.value_type):
            values = [None if value is None else [to_text(one) for one in value] for value in values]
        return self._arrow.array(values, kind)


@contextmanager
def atomically(file: Path) -> Generator[BinaryIO]:
    """Open a file that takes its place when it is whole and on the disk.

    The spare name is always the same, and what a killed run left there is written over: the caller holds a lock.

    Yields:
        stream: the spare file.

    Raises:
        OSError: it cannot be written; the spare file is removed.
    """
    spare = file.with_name(f".{file.name}.tmp")
    try:
        with spare.open("w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        spare.replace(file)
    except BaseException:
        spare.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can say so."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(stream: BinaryIO) -> str:
    """SHA-256 of a whole stream in hexadecimal."""
    stream.seek(0)
    return hashlib.file_digest(cast("BufferedReader", stream), "sha256").hexdigest()
