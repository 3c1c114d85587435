"""The example serves, and its client gets what the scorer gives, or the server's words."""

from __future__ import annotations

import pytest
from PIL import Image as Picture
from run_examples import run_example

from experiments.shapes import ShapesConfig, make_item
from yoj.runtime import Scorer

pytestmark = [pytest.mark.slow, pytest.mark.export]

ANSWERS = ["a cross", "a yellow triangle"]


def test_the_client_gets_the_scorers_scores(judge, tmp_path):
    picture = tmp_path / "scene.png"
    Picture.fromarray(make_item("held_out", ShapesConfig(1, 0), 0).frames[0]).save(picture)
    said = run_example("serve", judge, picture, "Describe the bottom right.", *ANSWERS)
    with Scorer.load(judge) as scorer:
        expected = scorer.score("Describe the bottom right.", ANSWERS, images=[picture])
    assert "'a yellow triangle' is best" in said
    assert f"scores: {', '.join(f'{score:.2f}' for score in expected.scores)}" in said
    assert "400: images[0] (10 bytes) is not an image" in said
