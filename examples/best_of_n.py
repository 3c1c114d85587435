"""Best-of-N filtering: of questions with eight answers each, keep the best answer where the judge is sure of it.

python -m examples.best_of_n .demo/judge.yoj

The shards are JSON lines with pictures beside them, as a data set of your own may be; Parquet is read likewise.
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


def main(judge: str, folder: str | Path = FOLDER) -> None:
    """Write shards of made-up questions, filter them by one command, and read what was kept."""
    shards, kept = Path(folder, "shards"), Path(folder, "kept")
    for number in range(SHARDS):
        write_items(shards, f"part-{number}", ShapesConfig(ITEMS, number, ANSWERS), lambda _: None)
    program = Path(sys.executable).with_name("yoj-score")
    options = ["--best", "--min-margin", str(MARGIN), "--keep", "rankings"]
    # Killed and started again, it goes on where it was.
    subprocess.run([program, judge, f"{shards}/*.jsonl", "--out", kept, *options], check=True)

    rows = [json.loads(line) for file in sorted(kept.glob("*.jsonl")) for line in file.open(encoding="utf-8")]
    for row in rows[:3]:
        print(f"{row['response']!r} is answer {row['index']}, ahead by {row['margin']:.1f}")
    right = statistics.mean(row["rankings"][row["index"]] == 1 for row in rows)
    first = statistics.mean(row["rankings"][0] == 1 for row in rows)
    print(f"kept {len(rows)} of {SHARDS * ITEMS} questions in {kept}")
    print(f"the answer is right in {right:.1%} of them; the first of the eight would be in {first:.1%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
