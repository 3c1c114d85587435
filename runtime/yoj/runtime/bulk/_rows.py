"""Rows of a shard, and what becomes of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._jsonl import OF_THE_RUN, Done, Result, done_of, encode_result
from .._judgement import Judgement
from ..codec import Reading
from ..lines import Entry, Numbered, read_entry, read_fields


@dataclass(frozen=True)
class ShardRow:
    """Row of a shard that is to be scored."""

    number: int
    """Place in the shard, from 1; of JSON lines the number of the line."""
    digest: str
    """First 16 hexadecimal digits of the SHA-256 of its content."""
    text: bytes | None = None
    """JSON object of the row; None for a row of a table."""
    fields: Mapping[str, Any] | None = None
    """Fields of a row of a table, in which media are bytes, or structs of ``bytes`` and ``path``."""
    reading: Reading | None = None
    """Settings for reading it, as its shard has a folder of media of its own; None for those of the run."""

    def read(self, reading: Reading) -> Entry:
        """Decode the row, with these settings unless it has its own. Nothing that may be wrong with it is raised."""
        reading = self.reading or reading
        if self.text is not None:
            return read_entry(Numbered(self.number, self.text), reading)
        return read_fields(self.number, self.digest, dict(self.fields or {}), reading)


@dataclass(frozen=True)
class RowResult:
    """Result of one row."""

    text: bytes
    """JSON line of the result or of the error, with its line feed, as a journal has it."""
    done: Done
    """The same in short."""
    ignored: tuple[str, ...] = ()
    """Fields of the row that were passed over, as the reading asked for."""
    of_run: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields of the judgement that are of this run alone, and not in the line; see `OF_THE_RUN`."""

    @classmethod
    def of(cls, entry: Entry, run: str, result: Result, more: Mapping[str, Any] | None = None) -> RowResult:
        """Result of a row; see `encode_result`."""
        of_run = {name: getattr(result, name) for name in OF_THE_RUN} if isinstance(result, Judgement) else {}
        return cls(encode_result(entry, run, result, more or {}), done_of(entry, run, result), entry.ignored, of_run)
