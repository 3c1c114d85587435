"""Samples whose pictures make them too long are trained on with smaller pictures, as in the reference."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from experiments.small import write_base
from yoj.export.families.opening import open_family
from yoj.runtime.errors import LengthError
from yoj.runtime.request import Request
from yoj.training._errors import VisionBudgetError
from yoj.training._judge import open_base
from yoj.training._preparer import BudgetedPreparer, make_preparer
from yoj.training._recipe import Recipe
from yoj.training.setup import load_samples

pytestmark = pytest.mark.slow

TEXTS = ["Which is red, blue or green? " * 3] * 4
SETTINGS = {
    "molmo2": {"max_crops": 8},
    "qwen3_vl": {"size": {"shortest_edge": 32 * 32, "longest_edge": 192 * 384}},
}


@pytest.fixture(scope="module", params=["molmo2", "qwen3_vl"])
def base(request, tmp_path_factory):
    """A small base that shows pictures of 192 x 384 pixels whole."""
    folder = tmp_path_factory.mktemp("budget") / request.param
    write_base(request.param, TEXTS, folder, layers=4)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | SETTINGS[request.param]), "utf-8")
    return folder


def preparer(base, **limits) -> BudgetedPreparer:
    recipe = Recipe(str(base), "train.jsonl", "run", **limits)
    checkpoint = open_base(recipe)
    return make_preparer(checkpoint, open_family(checkpoint), recipe)


def sample() -> Request:
    pixels = np.random.default_rng(0).integers(0, 255, (192, 384, 3), np.uint8)
    return Request("Which?", ["red", "blue"], images=[pixels])


def rows(prepared) -> int:
    return sum(medium.rows for medium in prepared.media)


def test_pictures_become_smaller_until_they_fit_and_no_smaller(base):
    whole = preparer(base)
    full = whole.levels[0].prepare(sample())
    assert rows(whole.prepare(sample())) == rows(full)
    sizes = [rows(level.prepare(sample())) for level in whole.levels]
    assert len(sizes) == 4
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4
    for times, size in enumerate(sizes):
        prepared, halved = preparer(base, max_vision_tokens=size).prepare_at_level(sample())
        assert (rows(prepared), halved) == (size, times)
        length = len(prepared.packs[0].input_ids_L)
        shorter, halved = preparer(base, max_length=length).prepare_at_level(sample())
        assert (len(shorter.packs[0].input_ids_L), halved) == (length, times)


def test_what_is_too_long_at_every_size_is_an_error(base):
    smallest = rows(preparer(base).levels[-1].prepare(sample()))
    with pytest.raises(VisionBudgetError, match=f"{smallest} visual tokens; max_vision_tokens of the recipe is 1$"):
        preparer(base, max_vision_tokens=1).prepare(sample())
    with pytest.raises(LengthError):
        preparer(base, max_length=4).prepare(sample())
    with pytest.raises(LengthError):
        preparer(base, max_length=4).prepare(Request("Which?", ["red", "blue"]))


def test_a_video_is_shown_with_fewer_frames(base):
    frames = list(np.random.default_rng(0).integers(0, 255, (16, 64, 64, 3), np.uint8))
    video = Request("Which?", ["red", "blue"], video=frames, fps=1)
    full = preparer(base).prepare(video)
    half, times = preparer(base, max_vision_tokens=rows(full) - 1).prepare_at_level(video)
    assert times == 1
    assert rows(half) <= rows(full) // 2 + 1
    assert half.about.frames == (16, 8)
    assert full.about.frames == (16, 16)


def test_lines_that_are_not_shown_whole_are_told(base, tmp_path):
    Image.fromarray(sample().images[0]).save(tmp_path / "large.png")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "small.png")
    lines = [
        {"prompt": "Which?", "responses": ["red", "blue"], "rankings": [1, 2], "image": name}
        for name in ("small.png", "large.png", "small.png")
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")
    whole = preparer(base)
    limit = rows(whole.levels[1].prepare(sample()))
    notes = list[str]()
    recipe = Recipe(
        str(base), str(tmp_path / "train.jsonl"), str(tmp_path / "run"), accumulation=1, max_vision_tokens=limit
    )
    samples, _ = load_samples(recipe, skip=False, packs=True, note=notes.append)
    assert [numbered.line for numbered in samples] == [1, 2, 3]
    (said,) = notes
    assert "train.jsonl: 1 samples are too long with whole pictures" in said
    assert "divided by up to 2 (lines 2)" in said
