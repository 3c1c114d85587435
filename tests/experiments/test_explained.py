"""The place that a question asks about matters most: on a sample, with a bar far below the figure of all scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from quiet import Quiet

from experiments.explained import PLACES, draw_items, localise, measure, place_asked, table
from yoj.export import ExportConfig, build
from yoj.runtime import Scorer

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
SAMPLE = 60
BAR = 0.8


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    bundle = tmp_path_factory.mktemp("explained") / "judge.yoj"
    build(ExportConfig([CHECKPOINTS / "shapes-qwen3_vl"], None, "assistant", bundle, compare=False), Quiet())
    return Scorer.load(bundle)


@pytest.mark.export
def test_the_place_that_is_asked_about_matters_most(judge):
    items = draw_items(SAMPLE)
    assert len(items) > 30
    assert np.mean(localise(judge, items, PLACES)) >= BAR


@pytest.mark.export
def test_figures_of_all_kinds_are_measured(judge):
    figures = measure(judge, draw_items(12))
    assert set(figures.kinds) == {"identify", "where", "front", "specific"}
    assert "| judge |" in table({"judge": figures})


def test_the_place_is_that_of_the_scene():
    for item in draw_items(40):
        place = place_asked(item)
        if item.question.kind == "where":
            assert any(item.question.about.fits(look) for look in item.scene.places[place])
        else:
            assert place == item.question.place
