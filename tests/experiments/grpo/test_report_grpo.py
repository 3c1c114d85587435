"""Tables of the experiment, on runs whose figures are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.grpo.__main__ import RESULTS
from experiments.grpo.arms import agreement
from experiments.grpo.report import mean_with_interval, passes, read_runs, tables


def run(arm: str, seed: int, end: float, group: int = 8) -> dict:
    """Run of 40 steps."""
    return {
        "config": {"arm": arm, "group": group, "seed": seed, "samples": 64},
        "held_out": [{"step": 0, "truth": 0.5, "exact": 0.3}, {"step": 40, "truth": end, "exact": end / 2}],
        "steps": {
            "truth": [0.5] * 20 + [end] * 20, "agreement": [0.9] * 20 + [0.8] * 20, "distinct": [4.0] * 40,
            "seconds": [0.1] * 40,
        },
        "step_seconds": [2.0] * 40,
    }  # fmt: skip


RUNS = [run("multi", seed, end) for seed, end in enumerate((0.7, 0.8, 0.9))]
RUNS += [run("single", seed, end) for seed, end in enumerate((0.6, 0.7, 0.8))]


def test_means_have_intervals_of_students_t():
    # t(0.975, 2) = 4.303; standard deviation 0.1 over the root of 3.
    assert mean_with_interval([0.7, 0.8, 0.9]) == "0.800 ± 0.248"
    assert mean_with_interval([0.7]) == "0.700"
    assert mean_with_interval([0.1, 0.1], signed=True) == "+0.100 ± 0.000"


def test_tables_hold_what_the_runs_hold():
    text = tables(RUNS)
    multi = next(
        line for line in text.splitlines() if line.startswith("| (a) multi-response judge, one pass a group |")
    )
    assert multi.split(" | ")[1:4] == ["3", "0.800 ± 0.248", "0.400 ± 0.124"]
    assert "| multi less single, N=8 | +0.100 ± 0.000 | +0.100 ± 0.000 |" in text
    assert "| (a) multi-response judge, one pass a group | 3 | 100.0 ± 0.0 | 5.0 ± 0.0 | 8.0 ± 0.0 |" in text


def test_passes_are_counted():
    assert passes(run("passes", 0, 0.5)) == 8 * 4.0
    assert passes(run("multi", 0, 0.5, group=16)) == 4
    assert passes(run("truth", 0, 0.5)) == 0


@pytest.mark.parametrize(
    ("rewards", "true", "expected"),
    [
        ([1, 2, 3], [0, 0.5, 1], [1, 1, 1]),
        ([3, 2, 1], [0, 0.5, 1], [0, 0, 0]),
        ([1, 1, 2], [0, 0.5, 1], [0.5, 1, 1]),
        ([1, 2, 3], [1, 1, 0], [0, 0]),
        ([1, 2], [1, 1], []),
    ],
)
def test_agreement_counts_pairs_of_unequal_truth(rewards, true, expected):
    assert np.array_equal(agreement(rewards, true), expected)


def test_the_page_has_the_tables_of_the_results():
    page = (Path(__file__).parents[3] / "docs" / "grpo.md").read_text("utf-8")
    assert tables(read_runs(RESULTS)) in page
