"""Rows of files for bulk scoring, and what a plain loop over `Scorer.score` makes of them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoj.runtime import Judgement, RequestError, Scorer, YojError
from yoj.runtime._jsonl import FileScoring
from yoj.runtime.bulk import RowResult, ShardRow
from yoj.runtime.lines import Numbered, read_entry
from yoj.runtime.request import Request
from yoj.runtime.sources import Policy

IMAGES = Path(__file__).parents[1] / "golden" / "data" / "images"
PICTURES = ("odd_small.png", "wide.png")


@dataclass(frozen=True)
class DeadlyPolicy(Policy):
    """Policy under which one picture ends the process that reads it, as a fault in a decoder would."""

    def image(self, source: object, name: str) -> Path | bytes:
        if source == "deadly.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().image(source, name)


def rows_of(requests: Sequence[dict[str, Any] | bytes]) -> list[ShardRow]:
    """Rows of objects, or of lines as they are."""
    texts = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in requests]
    return [ShardRow(number, hashlib.sha256(text).hexdigest()[:16], text) for number, text in enumerate(texts, 1)]


def plain_loop(scorer: Scorer, rows: Sequence[ShardRow], settings: FileScoring) -> list[Judgement | Exception]:
    """Judgement or error of each row, one after the other."""
    found: list[Judgement | Exception] = []
    for row in rows:
        assert row.text is not None
        request = read_entry(Numbered(row.number, row.text), settings.reading).request
        if not isinstance(request, Request):
            found.append(request)
            continue
        try:
            found += scorer.score_batch([request], mode=settings.mode, orders=settings.orders)
        except (YojError, RequestError) as error:
            found.append(error)
    return found


def check_results(
    results: Sequence[RowResult], rows: Sequence[ShardRow], expected: Sequence[Judgement | Exception]
) -> None:
    """Check that every row is there once, in order, with the same scores or the same error."""
    assert [one.done.line for one in results] == [row.number for row in rows]
    for result, row, other in zip(results, rows, expected, strict=True):
        line = json.loads(result.text)
        assert result.text.endswith(b"\n")
        assert result.text.count(b"\n") == 1
        assert (line["line"], line["request"], line["run"]) == (row.number, row.digest, result.done.run)
        assert (result.done.line, result.done.request) == (row.number, row.digest)
        if isinstance(other, Exception):
            assert line["error"] == {"type": type(other).__name__, "message": str(other)}
            assert result.done.error == {"message": str(other)}
            continue
        assert "error" not in line, line["error"]
        assert result.done.error is None
        assert len(line["scores"]) == len(other.scores)
        assert max(abs(a - b) for a, b in zip(line["scores"], other.scores, strict=True)) <= 1e-4
        assert (line["mode"], line["orders"], tuple(line["duplicates"])) == (other.mode, other.orders, other.duplicates)
        assert tuple(result.done.notices) == tuple(line["notices"]) == other.notices
        assert line.get("id") == other.id
        assert line.get("metadata") == other.metadata
