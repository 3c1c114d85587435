"""Scoring of shards: the rows of each into a journal, then all at once into a shard of results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np

from .._results_file import HeldError
from ..codec import Reading
from ..errors import RequestError
from ._columns import ResultColumns, TableColumns, kept_columns
from ._fingerprint import fingerprint, is_untouched
from ._journal import FAILED, SCORED, Journal
from ._place import Place
from ._progress import RunProgress
from ._reading import BLOCK_ROWS, Names, Reader, Values, plain
from ._rows import RowResult, ShardRow
from ._run_manifest import ShardState
from ._shards import PLAIN, Shard, ShardError
from ._table_reader import TableReader
from ._text_reader import TextReader
from ._writing import ResultBlock, atomically, make_writer, sha256_of

Tables: TypeAlias = tuple[str, TableColumns]
"""Name of the shard that the columns of all tables are taken from, and these columns."""
Scored: TypeAlias = tuple[list[dict[str, Any]], Values]
"""Results of successive rows, and values of their input."""


@dataclass(frozen=True)
class ShardJob:
    """Facts that the scoring of each shard needs."""

    reading: Callable[[Path], Reading]
    """Settings for reading the rows of a shard, by the folder that relative paths of media begin in."""
    place: Place
    names: Names
    results: ResultColumns
    tables: Tables | None
    """Columns of the tables of results; None where there are none."""
    runs: frozenset[str]
    """Digests of runs whose results compare."""
    progress: RunProgress


def open_reader(shard: Shard, names: Names) -> Reader:
    """Open a shard.

    Raises:
        ShardError: it cannot be read, or is no table of requests.
        RequestError: a package is missing.
    """
    if shard.format != PLAIN and shard.path.exists() and not shard.path.stat().st_size:
        raise ShardError(f"it is empty, which no file of {shard.format} is: its writer or its copy has failed")
    return TableReader(shard.path, names) if shard.format == "parquet" else TextReader(shard.path, names)


def find_tables(
    shards: Sequence[Shard], place: Place, names: Names, results: ResultColumns
) -> tuple[str, TableColumns] | None:
    """Find the columns of all tables that a run writes, which are those of the first shard that can be read.

    Returns:
        Name of that shard, and the columns; None where no shard of results is a table.

    Raises:
        RequestError: a column cannot be kept, or a package is missing.
    """
    for shard in shards:
        if place.format(shard) != "parquet":
            continue
        try:
            reader = open_reader(shard, names)
        except ShardError:
            continue  # which is told when its turn comes
        if reader.types is None and "all" in place.options.keep:
            raise RequestError(
                f"{shard.name} has JSON lines, and --keep all of these makes no columns of a table. Name each column "
                "with a --keep of its own."
            )
        try:
            kept = kept_columns(place.options.keep, reader, results)
        except ShardError as error:
            raise RequestError(f"{shard.name}: {error}.") from error
        return shard.name, TableColumns(results, kept, reader.types)
    return None


@dataclass
class OpenShard:
    """Shard between its first row's being read and its last result."""

    shard: Shard
    state: ShardState
    reader: Reader
    journal: Journal
    table: TableColumns
    given: int = 0
    """Number of rows that were given to be scored."""
    returned: int = 0
    """Number of their results."""
    read: bool = False
    """Whether all rows were given."""
    fault: ShardError | None = None
    """Error with which its rows ended."""

    @property
    def complete(self) -> bool:
        """Whether all results are there."""
        return self.read and self.given == self.returned

    def waiting(self, job: ShardJob) -> Iterator[ShardRow]:
        """Rows that have no result yet, or failed."""
        reading = job.reading(self.shard.path.parent)
        try:
            for row in self.reader.rows():
                if self.journal.has(row.number, row.digest):
                    job.progress.found(1)
                    continue
                self.given += 1
                yield replace(row, reading=reading)
        except ShardError as error:
            self.fault = error
        self.read = True

    def take(self, result: RowResult, job: ShardJob) -> None:
        """Write the next result.

        Raises:
            OSError: the disk is full, or the journal cannot be written.
        """
        self.journal.append(result)
        self.returned += 1
        job.progress.advance(result.done.error is not None)


def open_shard(job: ShardJob, shard: Shard, state: ShardState) -> OpenShard:
    """Open a shard, and the journal of its results.

    Args:
        job: the run.
        shard: the shard.
        state: state of the shard, which is brought up to date.

    Raises:
        ShardError: the shard is at fault, or another process scores it.
        RequestError: a package is missing, or results of other settings are there.
        OSError: results cannot be written.
    """
    state.source = fingerprint(shard.path)
    reader = open_reader(shard, job.names)
    state.rows = reader.count()
    job.progress.expect(shard.name, state.source.size, state.rows)
    table = _table_of(job, shard, reader)
    state.not_read = [name for name in reader.not_read if name not in table.kept]
    (job.place.folder / state.output).parent.mkdir(parents=True, exist_ok=True)
    try:
        journal = Journal(job.place.journal(shard), job.runs)
    except HeldError as error:
        raise ShardError("another process scores it; the same command looks at it again when that has ended") from error
    state.damaged += journal.damaged
    return OpenShard(shard, state, reader, journal, table)


def finish_shard(job: ShardJob, opened: OpenShard) -> None:
    """Write the results of a shard that is complete. Its journal stays until the manifest knows of them.

    Args:
        job: the run.
        opened: the shard.

    Raises:
        ShardError: the shard is at fault.
        OSError: results cannot be written.
    """
    shard, state, journal = opened.shard, opened.state, opened.journal
    with journal:
        if opened.fault is not None:
            raise opened.fault
        if state.source is not None and not is_untouched(shard.path, state.source):
            raise ShardError("it was written into while it was read; start the same command again")
        if journal.count(SCORED) + journal.count(FAILED) != state.rows:
            raise ShardError(f"{journal.count(SCORED) + journal.count(FAILED)} of its {state.rows} rows have results")
        _write(job, shard, state, _rows(opened.reader, journal, opened.table), opened.table)
        state.state = "done"


def _table_of(job: ShardJob, shard: Shard, reader: Reader) -> TableColumns:
    """Columns of the results of a shard."""
    if job.place.format(shard) != "parquet":
        return TableColumns(job.results, kept_columns(job.place.options.keep, reader, job.results), None)
    assert job.tables is not None  # this shard can be read
    first, table = job.tables
    kept_columns(table.kept, reader, job.results)
    table.check(reader, first)
    return table


def _rows(reader: Reader, journal: Journal, table: TableColumns) -> Iterator[Scored]:
    """Results of successive rows, and the values that are written of these."""
    wanted = [*table.kept]
    if table.results.selection.responses and "responses" not in wanted:
        wanted.append("responses")
    if not wanted:
        numbers = journal.numbers()
        blocks = (Values(some, {}) for some in iter(lambda: [*islice(numbers, BLOCK_ROWS)], []))
    else:
        blocks = reader.values(wanted)
    for block in blocks:
        yield [msgspec.json.decode(journal.line(number)) for number in block.numbers], block


def _write(job: ShardJob, shard: Shard, state: ShardState, rows: Iterator[Scored], table: TableColumns) -> None:
    """Write the results of a shard, and count them."""
    output, selection = job.place.folder / state.output, job.results.selection
    state.scored = state.failed = state.left_out = state.noticed = state.ranked = state.right = 0
    state.first_error = state.first_notice = ""
    with atomically(output) as stream:
        writer = make_writer(stream, job.place.format(shard), table, str(output))
        for results, block in rows:
            for result in results:
                _count(state, result)
            lists = plain(block.columns["responses"]) if selection.responses else [None] * len(results)
            chosen = [selection.of(result, own) for result, own in zip(results, lists, strict=True)]
            places = [place for place, one in enumerate(chosen) if one is not None]
            failed = sum("error" in result for result, one in zip(results, chosen, strict=True) if one is None)
            state.left_out += len(results) - len(places) - failed
            kept = {name: _taken(block.columns[name], places) for name in table.kept}
            writer.write(ResultBlock([one for one in chosen if one is not None], kept))
        writer.close()
        state.output_size, state.output_sha256 = stream.seek(0, 2), sha256_of(stream)


def _count(state: ShardState, result: dict[str, Any]) -> None:
    if (error := result.get("error")) is not None:
        state.failed += 1
        state.first_error = state.first_error or f"row {result['line']}: {error['message']}"
        return
    state.scored += 1
    state.ranked += result.get("right") is not None
    state.right += result.get("right") is True
    if notices := result.get("notices"):
        state.noticed += 1
        state.first_notice = state.first_notice or f"row {result['line']}: {notices[0]}"


def _taken(column: Any, places: Sequence[int]) -> Any:
    """Values of a column in some places."""
    if len(places) == len(column):
        return column
    # Of no places Arrow cannot tell the type of their numbers from a list.
    return [column[place] for place in places] if isinstance(column, list) else column.take(np.array(places, np.int64))
