"""Tables and picture, of records whose figures are known."""

from __future__ import annotations

import pytest

from experiments.any_n.errors import PROBES as MADE
from experiments.any_n.plot import draw
from experiments.any_n.report import PROBES, tables


def figure(value: float, half: float = 0.1, count: int = 10) -> dict:
    return {"value": value, "low": value - half, "high": value + half, "count": count}


def record(method: str, n: int, top1: float, passes: float = 1) -> dict:
    rival = None if method.startswith("knockout") else figure(0.9)
    return {
        "method": method, "n": n, "items": 10, "top1": figure(top1), "first_is_true": figure(0.95, 0.05),
        "above_rival": rival, "tau_b": rival,
        "thirds": {"first": figure(1.0), "middle": None, "last": figure(0.25)},
        "passes": passes, "tokens": 120.4, "milliseconds": 40.0, "cpu_milliseconds": 12.25,
    }  # fmt: skip


ABOUT = {
    "trained_mode": "joint", "trained_n": [2, 16], "precision": "float32", "items": 10, "manifest_sha256": "ab" * 32,
}  # fmt: skip
FLUENCY = {
    "probe": "fluency", "n": 4, "items": 10, "terse_among_fluent": figure(0.5), "fluent_among_terse": figure(0.75),
    "difference": figure(0.25), "above_rival_terse": figure(0.6), "above_rival_fluent": figure(0.8),
}  # fmt: skip
POSITION = {
    "probe": "position", "n": 4, "items": 10, "accuracy_by_place": [figure(k / 10) for k in (9, 5, 6, 7)],
    "widest_gap": figure(0.4), "wins_by_place": [16, 8, 8, 8], "chi_square": 4.8, "p": 0.187,
}  # fmt: skip
RESULTS = {
    "multi": {
        "about": ABOUT,
        "records": [
            record("isolated", 2, 0.75), record("one pack", 2, 0.8), record("one pack", 32, 0.5),
            record("groups of 4, 4 rounds", 32, 0.85, 32), record("knockout of 4", 32, 0.7, 11), FLUENCY, POSITION,
        ],
    },
    "single": {"about": ABOUT | {"trained_mode": "isolated"}, "records": [record("isolated", 32, 0.6)]},
}  # fmt: skip


def test_tables_hold_what_the_records_hold():
    text = tables(RESULTS)
    assert "| multi | joint | [2, 16] | float32 | 10 | abababababababab |" in text
    accuracy, rival = text.split("**Best answer first, %**")[1].split("**First answer is true", 1)
    expected = """
        | judge | method | N=2 | N=4 | N=8 | N=16 | N=32 | N=64 | |---|---|---|---|---|---|---|---|
        | multi | one pack | 80.0 [70.0, 90.0] | | | | 50.0 [40.0, 60.0] | |
        | multi | groups of 4, 4 rounds | | | | | 85.0 [75.0, 95.0] | |
        | multi | knockout of 4 | | | | | 70.0 [60.0, 80.0] | |
        | multi | isolated | 75.0 [65.0, 85.0] | | | | | |
        | single | isolated | | | | | 60.0 [50.0, 70.0] | |
    """
    assert accuracy.split() == expected.split()
    assert "| multi | knockout of 4 |  |  |  |  | - |  |" in rival
    assert "| multi | one pack | 95.0 [90.0, 100.0] |" in rival
    assert "| multi | one pack | 0.900 [0.800, 1.000] |" in text
    assert "| multi | one pack | 100.0 / - / 25.0 |" in text


def test_costs_are_in_the_order_of_the_packs():
    cost = tables(RESULTS).split("**N=32, by packs**")[1].split("\n\n")[1]
    rows = [line for line in cost.splitlines() if line.startswith(("| multi", "| single"))]
    assert [line.split(" | ")[1] for line in rows] == ["one pack", "isolated", "knockout of 4", "groups of 4, 4 rounds"]
    assert rows[-1] == (
        "| multi | groups of 4, 4 rounds | 85.0 [75.0, 95.0] | 90.0 [80.0, 100.0] | 32 | 120 | 40.0 | 12.2 |"
    )
    assert "**N=64" not in tables(RESULTS)


def test_probes_have_a_table_each():
    text = tables(RESULTS)
    assert (
        "| multi | 4 | 10 | 50.0 [40.0, 60.0] | 75.0 [65.0, 85.0] | 25.0 [15.0, 35.0] | 60.0 [50.0, 70.0] | "
        "80.0 [70.0, 90.0] |"
    ) in text
    assert (
        "| 90.0 [80.0, 100.0] | 60.0 [50.0, 70.0] | 70.0 [60.0, 80.0] | 40.0 [30.0, 50.0] | 16 8 8 8 | 4.8 | 0.19 |"
    ) in text
    assert PROBES.keys() == MADE.keys()


@pytest.mark.slow
def test_the_picture_has_a_line_for_each_method(tmp_path):
    draw(RESULTS, tmp_path / "any-n.svg")
    text = (tmp_path / "any-n.svg").read_text("utf-8")
    assert all(name in text for name in ("one pack", "groups of 4, 4 rounds", "knockout of 4", "isolated", "chance"))
    assert all(f">{n}<" in text for n in (2, 32, 64))
