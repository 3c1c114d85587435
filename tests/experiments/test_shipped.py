"""The judges in ``checkpoints/`` judge: measured as for their table, on the first of its items."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.shipped import measure

pytestmark = pytest.mark.export

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
ITEMS = 200
BEST_OF_4 = {"shapes-qwen3_vl": 0.969, "shapes-molmo2": 0.87, "edits-qwen3_vl": 0.80}
"""At least, on all held-out items."""
AGREEMENT = {"float32": 1.0, "float16": 0.995, "bfloat16": 0.995}
"""At least, of the first answers with those of the stock model in float32."""
MEASURED = [("shapes-qwen3_vl", "float32"), ("shapes-molmo2", "float16"), ("edits-qwen3_vl", "float32")]
"""Here; the others are in the record."""
RECORDED = json.loads((CHECKPOINTS / "figures.json").read_text("utf-8"))


@pytest.fixture(
    scope="module",
    params=[pytest.param(one, marks=pytest.mark.thorough) for one in MEASURED],
    ids=" ".join,
)
def judge(request):
    name, precision = request.param
    return name, precision, measure(CHECKPOINTS / name, ITEMS, precision)


def test_the_bundle_ranks_as_the_stock_model_does(judge):
    _, precision, figures = judge
    assert figures.items == ITEMS
    assert figures.agreement >= AGREEMENT[precision]
    assert precision != "float32" or figures.difference <= 1e-4


def test_it_finds_the_best_response_and_needs_all_that_it_is_shown_for_it(judge):
    name, _, figures = judge
    assert figures.best_of_4 >= BEST_OF_4[name] - 0.05  # about two standard errors of so few items
    assert max(figures.blind.values()) <= 0.40


def test_the_table_was_measured_with_these_files(judge):
    name, precision, figures = judge
    recorded = RECORDED[f"{name} {precision}"]
    assert abs(recorded["best_of_4"] - figures.best_of_4) <= 0.06
    assert recorded["megabytes"] == pytest.approx(figures.megabytes, abs=0.05)
    assert recorded["megabytes"] < 12


@pytest.mark.parametrize("precision", AGREEMENT)
@pytest.mark.parametrize("name", BEST_OF_4)
def test_what_was_measured_is_what_was_asked_for(name, precision):
    recorded = RECORDED[f"{name} {precision}"]
    assert recorded["items"] == 2000
    assert recorded["best_of_4"] >= BEST_OF_4[name]
    assert max(recorded["blind"].values()) <= 0.40
    assert recorded["agreement"] >= AGREEMENT[precision]


@pytest.mark.parametrize("name", BEST_OF_4)
def test_eight_bits_rank_as_well(name):
    float32, int8 = RECORDED[f"{name} float32"], RECORDED[f"{name} int8"]
    assert float32["items"] == int8["items"] == 2000
    assert abs(int8["best_of_4"] - float32["best_of_4"]) <= 0.01


@pytest.mark.parametrize("name", [name for name in BEST_OF_4 if name.startswith("shapes")])
def test_eight_bits_rank_on_a_cpu_without_vnni_as_with_it(name):
    """Judges that were trained on four answers: those of today have not been measured on such a CPU."""
    float32 = RECORDED[f"{name} float32 of four answers"]
    int8 = RECORDED[f"{name} int8 of four answers, no VNNI"]
    assert not [found for found in int8["instruction_sets"] if "vnni" in found]
    assert int8["items"] == float32["items"] == 2000
    assert abs(int8["best_of_4"] - float32["best_of_4"]) <= 0.01
    assert int8["agreement"] >= 0.98
