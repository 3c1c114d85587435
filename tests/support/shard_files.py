"""Shards of requests in every format, and what the command makes of them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
PICTURE = Path(__file__).parents[1] / "golden" / "data" / "images" / "odd_small.png"
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")


def requests(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Requests that differ in their questions, their lengths and their numbers of responses."""
    return [
        {
            "id": f"r{number}",
            "prompt": f"Question {number}? " + "word " * (number * 7 % 23),
            "responses": ["Red.", "Blue and green.", "I cannot tell.", "None of them."][: 2 + number % 3],
        }
        for number in range(first, first + count)
    ]


def write_shard(file: Path, rows: Sequence[dict[str, Any]], **options: Any) -> Path:
    """Write rows in the format that the name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file, **options)
        return file
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if file.suffix == ".gz":
        text = gzip.compress(text)
    elif file.suffix == ".zst":
        import zstandard

        text = zstandard.ZstdCompressor().compress(text)
    file.write_bytes(text)
    return file


def read_shard(file: Path) -> list[dict[str, Any]]:
    """Rows of a shard, by other code than that under test."""
    if file.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(file).to_pylist()
    text = file.read_bytes()
    if file.suffix == ".gz":
        text = gzip.decompress(text)
    elif file.suffix == ".zst":
        import zstandard

        text = zstandard.ZstdDecompressor().decompressobj().decompress(text)
    return [json.loads(line) for line in text.splitlines()]


def in_a_process(code: str, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run ``yoj-score`` in a process of its own, after some lines of Python."""
    command = [sys.executable, "-c", f"{code}\nfrom yoj.runtime.cli import main; main()", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, **options)
