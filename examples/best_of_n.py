"""Best-of-N filtering: of questions with eight answers each, keep the best answer where the judge is sure of it.

python -m examples.best_of_n .demo/judge.yoj

The shards are JSON lines with pictures beside them, as in any data set of your own; Parquet is read likewise (docs/bulk.md).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from experiments.shapes import ShapesConfig, write_items

FOLDER = Path(__file__).resolve().parent.parent / ".demo" / "best-of-n"
SHARDS, ITEMS, ANSWERS = 2, 100, 8
MARGIN = 2.0
"""Least lead of the best answer over the next other one, in units of the judge's score."""


def main(judge: str, folder: Path = FOLDER) -> None:
    """Write shards of made-up questions, filter them by one command, and read what was kept."""
    shards, kept = folder / "shards", folder / "kept"
    for number in range(SHARDS):
        write_items(shards, f"part-{number}", ShapesConfig(ITEMS, seed=number, responses=ANSWERS), lambda _: None)
    options = ["--best", "--min-margin", str(MARGIN), "--keep", "rankings"]
    command = [str(Path(sys.executable).with_name("yoj-score")), judge, str(shards), "--out", str(kept), *options]
    subprocess.run(command, check=True)  # killed and started again, it goes on where it was

    rows = [json.loads(line) for file in sorted(kept.glob("*.jsonl")) for line in file.open(encoding="utf-8")]
    for row in rows[:3]:
        print(f"{row['response']!r} is answer {row['index']}, ahead by {row['margin']:.1f}")
    right = statistics.mean(row["rankings"][row["index"]] == 1 for row in rows)
    first = statistics.mean(row["rankings"][0] == 1 for row in rows)
    print(f"kept {len(rows)} of {SHARDS * ITEMS} questions in {kept}")
    print(f"the answer is right in {right:.1%} of them; the first of the eight would be in {first:.1%}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
