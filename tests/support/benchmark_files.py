"""Hand-made files of benchmarks, and scores for their items."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from yoj.evaluation import Item, Pass, Refusal, Scored
from yoj.evaluation.benchmarks._base import Benchmark


def png(colour: str = "red") -> bytes:
    """Bytes of a picture of 2 by 2 pixels."""
    stream = io.BytesIO()
    Image.new("RGB", (2, 2), colour).save(stream, "PNG")
    return stream.getvalue()


def write_picture(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(png())
    return file


def write_jsonl(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def write_parquet(file: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file)
    return file


def read_all(
    benchmark: Benchmark, given: Path, renamed: Mapping[str, str] | None = None
) -> tuple[list[Item], list[Refusal]]:
    """Items and refusals of a benchmark's file or folder."""
    found = list(benchmark.read(given, renamed or {}))
    return [one for one in found if isinstance(one, Item)], [one for one in found if isinstance(one, Refusal)]


def scored(item: Item, *scores: float) -> Scored:
    """Item with the scores of one reading in the order of the file; without any, one that the judge failed at."""
    if not scores:
        return Scored(item, error="no image")
    return Scored(item, (Pass(tuple(range(len(scores))), tuple(scores)),))


def lines_of(files: Sequence[Path]) -> list[dict[str, Any]]:
    (file,) = files
    return [json.loads(line) for line in file.read_text().splitlines()]
