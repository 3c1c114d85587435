"""`max_pixels`: smaller pictures in training, in the checkpoint and in the stock processor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_edits import write_edits
from tiny_training import Setup, train
from transformers import AutoImageProcessor

from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.families.opening import open_family
from yoj.runtime import Request
from yoj.training._errors import RecipeError
from yoj.training._judge import open_base
from yoj.training._preparer import make_preparer
from yoj.training.checkpoints import newest

pytestmark = pytest.mark.slow

PIXELS = 20 * 1024
"""Twenty visual tokens of 32 x 32 pixels."""


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return Setup.make(tmp_path_factory.mktemp("pixels"), write_edits)


def rows(preparer) -> int:
    pixels = np.random.default_rng(0).integers(0, 255, (640, 320, 3), np.uint8)
    return sum(medium.rows for medium in preparer.prepare(Request("Which?", ["red"], images=[pixels])).media)


def preparer_of(setup: Setup, family: str = "qwen3_vl", **settings):
    recipe = setup.recipe(family, "none", max_length=8192, **settings)
    checkpoint = open_base(recipe)
    return make_preparer(checkpoint, open_family(checkpoint), recipe)


def test_pictures_have_at_most_so_many(setup):
    assert rows(preparer_of(setup)) > 40
    assert 10 < rows(preparer_of(setup, max_pixels=PIXELS)) <= 20


@pytest.mark.parametrize("trainable", ["lora", "all"])
@pytest.mark.parametrize("nested", [False, True])
def test_the_limit_is_that_of_the_checkpoint(trainable, nested, setup, tmp_path):
    base = setup.folder / "qwen3_vl"
    kept = {name: (base / name).read_text("utf-8") for name in ("preprocessor_config.json", "processor_config.json")
            if (base / name).is_file()}  # fmt: skip
    own = json.loads(kept["preprocessor_config.json"])
    try:
        if nested:
            video = json.loads((base / "video_preprocessor_config.json").read_text("utf-8"))
            unified = {"processor_class": "Qwen3VLProcessor", "image_processor": own, "video_processor": video}
            (base / "processor_config.json").write_text(json.dumps(unified), "utf-8")
        settings = {"trainable": trainable, "max_pixels": PIXELS, "max_steps": 1, "objective": "n_way"}
        recipe = setup.recipe("qwen3_vl", str(tmp_path / "run"), **settings)
        train(recipe)
    finally:
        (base / "processor_config.json").unlink(missing_ok=True)
        for name, text in kept.items():
            (base / name).write_text(text, "utf-8")
    folder = newest(Path(recipe.out))
    assert folder is not None
    served = open_family(Checkpoint.open([folder])).preprocessing()
    checkpoint = open_base(setup.recipe("qwen3_vl", "none"))
    assert served == open_family(checkpoint).preprocessing() | {"image_max_pixels": PIXELS}
    if not nested:
        stock = AutoImageProcessor.from_pretrained(folder, use_fast=True)
        assert stock.size["longest_edge"] == PIXELS


def test_a_video_processor_without_a_file_of_its_own_keeps_its_limit(setup, tmp_path):
    base = setup.folder / "qwen3_vl"
    file = base / "video_preprocessor_config.json"
    text = file.read_text("utf-8")
    file.unlink()
    try:
        before = open_family(open_base(setup.recipe("qwen3_vl", "none"))).preprocessing()
        recipe = setup.recipe("qwen3_vl", str(tmp_path / "run"), max_pixels=PIXELS, max_steps=1)
        train(recipe)
        folder = newest(Path(recipe.out))
        assert folder is not None
        after = open_family(Checkpoint.open([folder], training=Training("post_norm"))).preprocessing()
    finally:
        file.write_text(text, "utf-8")
    assert after == before | {"image_max_pixels": PIXELS}


def test_pixels_that_cannot_be(setup):
    with pytest.raises(RecipeError, match=r"max_pixels is 10, but the processor of .* with fewer than [\d,]+\. Give"):
        preparer_of(setup, max_pixels=10)
    with pytest.raises(RecipeError, match=r"not bounded by their pixels\. Leave it out, and set max_crops"):
        preparer_of(setup, family="molmo2", max_pixels=PIXELS)
