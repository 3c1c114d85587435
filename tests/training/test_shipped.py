"""The judges in ``checkpoints/`` judge: measured as for their table, on the first of its items."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yoj.training.shipped import measure

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
ITEMS = 200


@pytest.fixture(scope="module", params=["shapes-qwen3_vl", "shapes-molmo2"])
def judge(request):
    return request.param, measure(CHECKPOINTS / request.param, ITEMS)


def test_the_bundle_ranks_as_the_stock_model_does(judge):
    _, figures = judge
    assert figures.items == ITEMS
    assert figures.agreement == 1.0
    assert figures.difference <= 1e-4


def test_it_finds_the_best_answer_and_needs_the_picture_for_it(judge):
    """On all held-out items it is 85 % at least; the standard error on 200 of them is 2.5 points."""
    _, figures = judge
    assert figures.best_of_4 >= 0.80
    assert figures.text_alone <= 0.40


def test_the_table_was_measured_with_these_files(judge):
    name, figures = judge
    recorded = json.loads((CHECKPOINTS / "figures.json").read_text("utf-8"))[name]
    assert recorded["best_of_4"] >= 0.85
    assert recorded["text_alone"] <= 0.40
    assert recorded["agreement"] == 1.0
    assert abs(recorded["best_of_4"] - figures.best_of_4) <= 0.06
    assert recorded["megabytes"] == pytest.approx(figures.megabytes, abs=0.05)
    assert recorded["megabytes"] < 12
