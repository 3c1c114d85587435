"""Plain loop over `Scorer.score`, and how results of other ways differ from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from yoj.runtime import Scorer

from .shards import read_rows


def plain_loop(bundle: Path, shards: Path) -> Iterator[tuple[str, tuple[float, ...]]]:
    """``id`` and scores of each row, one after the other."""
    with Scorer.load(bundle) as scorer:
        for row in read_rows(shards):
            yield row["id"], scorer.score(row["prompt"], row["responses"], images=[row["image"]["bytes"]]).scores


def compare(bundle: Path, shards: Path, results: Path, tell: Callable[[int], None]) -> dict[str, Any]:
    """Compare results with those of the plain loop.

    Returns:
        ``rows``, ``difference``, the largest of a score, ``other_best``, rows whose best response is another,
        ``seconds`` of the loop.

    Raises:
        ValueError: a row is missing, stands twice or elsewhere, or has no scores.
    """
    begin, rows, difference, other_best = time.monotonic(), 0, 0.0, 0
    found = read_rows(results, ["id", "scores", "best", "error"])
    for own, scores in plain_loop(bundle, shards):
        row = next(found, None)
        if row is None or row["id"] != own or row["error"] is not None:
            raise ValueError(f"row {rows + 1} is {own}, and its result is {row}")
        difference = max(difference, float(np.abs(np.subtract(row["scores"], scores)).max()))
        other_best += row["best"] != int(np.argmax(scores))
        rows += 1
        tell(rows)
    if (more := next(found, None)) is not None:
        raise ValueError(f"after all {rows} rows there is a result more: {more}")
    return {
        "rows": rows,
        "difference": difference,
        "other_best": other_best,
        "seconds": round(time.monotonic() - begin, 1),
    }
