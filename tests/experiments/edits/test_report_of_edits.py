"""Tables and picture, of records whose figures are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.edits.plot import draw, draw_item
from experiments.edits.report import tables


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "count": 10}


def share(a: float, seed: int, right: float) -> dict[str, Any]:
    return {
        "share": a, "seed": seed, "best_of_4": right, "pairwise": {"instruction": 0.9, "quality": 0.8},
        "kinds": {"move": {"best_of_4": right - 0.1}, "swap": {"best_of_4": right + 0.1}},
        "effective_rank": 4 + a, "width": 192,
    }  # fmt: skip


def loop(reward: str, seed: int, grade: float) -> dict[str, Any]:
    steps = ((0, 5.0, 0.25), (50, grade, 0.5))
    found = [{"step": step, "grade": value, "right": right} for step, value, right in steps]
    return {"reward": reward, "kl": 0.2, "seed": seed, "measurements": found}


RECORDS: dict[str, list[dict[str, Any]]] = {
    "share-0-seed-0": [share(0.0, 0, 0.8)],
    "share-0-seed-1": [share(0.0, 1, 0.9)],
    "share-0.5-seed-0": [share(0.5, 0, 0.7)],
    "cost": [
        {"way": "joint pack", "n": 2, "milliseconds": 4.0},
        {"way": "joint pack", "n": 4, "milliseconds": 6.25, "best_of_4": figure(0.85)},
        {"way": "N passes", "n": 2, "milliseconds": 7.0},
        {"way": "N passes", "n": 4, "milliseconds": 14.5, "best_of_4": figure(0.5)},
    ],
    "loop-truth-kl-0.2-seed-0": [loop("truth", 0, 7.0)],
    "loop-truth-kl-0.2-seed-1": [loop("truth", 1, 7.5)],
    "correction-seed-0": [{"seed": 0, "after": {"the truth, below 8": {"edits": 200, "before": 5.0, "change": 1.5}}}],
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name, records in RECORDS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"about": {}, "records": records}), "utf-8")
    return tmp_path


def test_tables_hold_what_the_records_hold(results: Path) -> None:
    shares, kinds, ways, loops, corrections = tables(results).split("\n\n")
    zero, half = shares.splitlines()[2:]
    assert zero == "| 0 | 85.0 ± 63.5 | 90.0 ± 0.0 | 80.0 ± 0.0 | 4.0 ± 0.0 |"  # 12.7 x 0.05, Student with 1 degree
    assert half.startswith("| 0.5 | 70.0")
    assert kinds.splitlines()[0] == "| best of 4 by kind, % | move | swap |"
    assert kinds.splitlines()[2].startswith("| 0 | 75.0")
    assert ways.splitlines()[0] == "| way | best of 4, % | ms at N=2 | ms at N=4 |"
    assert ways.splitlines()[2:] == [
        "| joint pack | 85.0 [75.0, 95.0] | 4.0 | 6.2 |",
        "| N passes | 50.0 [40.0, 60.0] | 7.0 | 14.5 |",
    ]
    assert loops.splitlines()[2].startswith("| truth, 0.2 | 5.00 ± 0.00 | 7.25 ± 3.18 |")
    assert "| the truth, below 8 | 200" in corrections
    assert "1.50" in corrections


def test_a_folder_without_results_has_no_tables(tmp_path: Path) -> None:
    assert not tables(tmp_path)


def test_the_picture_is_the_same_each_time(results: Path) -> None:
    draw(results, results / "one.svg")
    draw(results, results / "two.svg")
    one = (results / "one.svg").read_text("utf-8")
    assert one == (results / "two.svg").read_text("utf-8")
    assert "share of language a" in one
    assert "truth" in one


def test_an_item_is_drawn_with_what_it_asks_and_its_grades(tmp_path: Path) -> None:
    draw_item(5, tmp_path / "item.svg")
    drawn = (tmp_path / "item.svg").read_text("utf-8")
    assert "Swap the blue square and the purple circle." in drawn
    assert "right and damaged" in drawn
    assert "instruction 4, quality 4" in drawn
