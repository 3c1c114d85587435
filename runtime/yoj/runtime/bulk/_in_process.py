"""Rows scored in this process, which for a few is faster than to start others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from .._jsonl import FileScoring, check_settings, explain, run_digest, score_entries
from .._scorer import Scorer
from ._preparation import read_row
from ._rows import RowResult, ShardRow


def score_in_process(scorer: Scorer, rows: Iterable[ShardRow], settings: FileScoring) -> Iterator[RowResult]:
    """Score rows, in order. An error of one row does not touch the others.

    Args:
        scorer: a loaded scorer.
        rows: rows of one file.
        settings: settings of the run.

    Raises:
        YojError: the settings do not go with the bundle; see `check_settings`.
    """
    check_settings(scorer.manifest, scorer.engine, settings)
    run, rest = run_digest(scorer.manifest, scorer.engine, settings), iter(rows)
    while chunk := [read_row(row, settings.reading) for row in islice(rest, settings.together)]:
        for entry, result in zip(chunk, score_entries(scorer, chunk, settings), strict=True):
            yield RowResult.of(entry, run, *explain(scorer, entry, result, settings.rationale))
