"""Rows -> results, in order, a bounded number of them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from .._jsonl import FileScoring, done_of, encode_result, explain_entry, run_digest, score_entries
from .._scorer import Scorer
from ..codec import Reading
from ..lines import Entry, Numbered, read_entry, read_fields
from ._rows import Row, RowResult


def score_rows(scorer: Scorer, rows: Iterable[Row], settings: FileScoring) -> Iterator[RowResult]:
    """Score rows.

    Args:
        scorer: a loaded scorer.
        rows: rows of one shard.
        settings: settings of the run; its ``reading`` is that of the shard's folder.

    Returns:
        Result or error of each row, in order. An error of one row does not touch the others.
    """
    run, rest = run_digest(scorer, settings), iter(rows)
    while chunk := [read_row(row, settings.reading) for row in islice(rest, settings.together)]:
        for entry, result in zip(chunk, score_entries(scorer, chunk, settings), strict=True):
            told, more = explain_entry(scorer, entry, result, settings.rationale)
            yield RowResult(entry.number, encode_result(entry, run, told, more), done_of(entry, run, told))


def read_row(row: Row, reading: Reading) -> Entry:
    """Decode a row. Nothing that may be wrong with it is raised."""
    if row.text is not None:
        return read_entry(Numbered(row.number, row.text), reading)
    return read_fields(row.number, row.digest, dict(row.fields or {}), reading)
