"""Process that prepares rows: reads them, decodes and resizes their media, and makes tokens of their texts.

It has no engine. A row that is wrong is answered with the line of its error, others with what the engine needs.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from .._jsonl import FileScoring
from .._source import Preparing
from ..batch import BATCH_TOKENS, Prepared
from ..codec import Reading
from ..lines import Entry, Numbered, read_entry, read_fields
from ..manifest import Mode
from ..prepare import Preparer
from ..request import Request
from ._children import Worker
from ._pool import Outcomes
from ._rows import RowResult, ShardRow

ANSWER_BYTES = 8 * 2**20
"""Bytes of prepared rows after which a task is answered; its other rows are given back."""


@dataclass(frozen=True)
class PreparationSetup:
    """Setup of a process that prepares."""

    preparing: Preparing
    settings: FileScoring
    run: str
    """Digest of the run's settings."""


@dataclass(frozen=True)
class Unread:
    """Row that is to be prepared, and how it is read."""

    row: ShardRow
    reading: Reading


@dataclass(frozen=True)
class Scorable:
    """Content of a row that the engine needs."""

    prepared: Prepared | None
    """None where the engine's process prepares it: a knockout does that round by round."""
    request: Request | None
    """None where it is not read again."""


@dataclass(frozen=True)
class Ready:
    """Outcome of a row that is ready for the engine."""

    entry: Entry
    """The row without its request, whose media may be large."""
    content: bytes
    """Pickled `Scorable`, which no process between the two unpickles."""
    longest: int
    """Tokens of the longest of its packed rows."""
    packs: int
    """Number of its packed rows."""
    tokens: int
    """Tokens of all of them."""
    mode: Mode
    key: bytes
    """Content hash of its first medium; empty where it has none."""


@dataclass(frozen=True)
class GivenBack:
    """Outcome of a row that was not prepared, since others of its task took all the room."""


def open_preparation(setup: PreparationSetup) -> Worker:
    """Open the preparer of a bundle; see `Preparing.open`."""
    preparation = _Preparation(setup, setup.preparing.open())
    return Worker(None, preparation.work)


class _Preparation:
    def __init__(self, setup: PreparationSetup, preparer: Preparer):
        self._setup, self._preparer = setup, preparer

    def work(self, rows: Mapping[int, Unread]) -> Iterator[Outcomes]:
        """Prepare rows, as many as there is room for."""
        outcomes: dict[int, RowResult | Ready | GivenBack] = {}
        size = 0
        for position, unread in rows.items():
            if size >= ANSWER_BYTES:
                outcomes[position] = GivenBack()
                continue
            outcomes[position] = outcome = self._prepare(unread)
            size += len(outcome.content) if isinstance(outcome, Ready) else len(outcome.text)
        yield Outcomes(outcomes)

    def _prepare(self, unread: Unread) -> RowResult | Ready:
        settings = self._setup.settings
        entry = read_row(unread.row, unread.reading)
        try:
            if isinstance(entry.request, Exception):
                raise entry.request
            if settings.knockout:
                return _ready_for_knockout(entry)
            prepared = self._preparer.prepare(entry.request, settings.mode, settings.orders)
            return _ready(entry, prepared, with_request=settings.rationale is not None)
        except Exception as error:
            return RowResult.of(entry, self._setup.run, error)


def read_row(row: ShardRow, reading: Reading) -> Entry:
    """Decode a row. Nothing that may be wrong with it is raised."""
    if row.text is not None:
        return read_entry(Numbered(row.number, row.text), reading)
    return read_fields(row.number, row.digest, dict(row.fields or {}), reading)


def _ready(entry: Entry, prepared: Prepared, with_request: bool) -> Ready:
    assert isinstance(entry.request, Request)
    scorable = Scorable(prepared, entry.request if with_request else None)
    lengths = [len(pack.input_ids_L) for pack in prepared.packs]
    return Ready(
        _without_request(entry),
        pickle.dumps(scorable),
        max(lengths),
        len(lengths),
        sum(lengths),
        prepared.mode,
        prepared.keys[0] if prepared.keys else b"",
    )


def _ready_for_knockout(entry: Entry) -> Ready:
    """A row whose packs are not known beforehand: a batch of its own."""
    assert isinstance(entry.request, Request)
    scorable = Scorable(None, entry.request)
    return Ready(_without_request(entry), pickle.dumps(scorable), BATCH_TOKENS, 1, 0, "joint", b"")


def _without_request(entry: Entry) -> Entry:
    return replace(entry, request=Request("", ()))
