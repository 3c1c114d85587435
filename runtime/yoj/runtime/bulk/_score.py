"""Rows -> results, in order, a bounded number of them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from .._jsonl import FileScoring, done_of, encode_result, explain, run_digest, score_entries
from .._scorer import Scorer
from ._preparation import read_row
from ._rows import Row, RowResult


def score_rows(scorer: Scorer, rows: Iterable[Row], settings: FileScoring) -> Iterator[RowResult]:
    """Score rows, in order. An error of one row does not touch the others.

    Args:
        scorer: a loaded scorer.
        rows: rows of one shard.
        settings: settings of the run; its ``reading`` is that of the shard's folder.
    """
    run, rest = run_digest(scorer.manifest, scorer.engine, settings), iter(rows)
    while chunk := [read_row(row, settings) for row in islice(rest, settings.together)]:
        for entry, result in zip(chunk, score_entries(scorer, chunk, settings), strict=True):
            told, more = explain(scorer, entry, result, settings.rationale)
            yield RowResult(entry.number, encode_result(entry, run, told, more), done_of(entry, run, told))
