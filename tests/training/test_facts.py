"""What a checkpoint records of the samples: pictures in every response, and rationales."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_edits import edits, picture, shown

from yoj.training._facts import facts_of, response_images, tell_bare
from yoj.training._rankings import Needs
from yoj.training._recipe import Recipe
from yoj.training.samples import NumberedSample, read_samples


def samples_of(folder: Path, lines: list[dict[str, Any]]) -> list[NumberedSample]:
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    samples, problems = read_samples(folder / "train.jsonl", Needs(evaluated=True))
    assert not problems
    return samples


def test_edits_of_the_size_of_their_source(tmp_path):
    assert response_images(samples_of(tmp_path, edits(tmp_path))) == "same_size"


def test_the_source_is_the_last_picture_of_the_prompt(tmp_path):
    large = shown(picture(tmp_path, "large.png", 1, (96, 64)))
    lines = edits(tmp_path, 2)
    lines[1]["prompt"] = [large, *lines[1]["prompt"]]
    assert response_images(samples_of(tmp_path, lines)) == "same_size"
    lines[1]["prompt"] = [*lines[1]["prompt"], large]
    assert response_images(samples_of(tmp_path, lines)) == "any_size"


def test_a_picture_of_another_size_and_a_prompt_without_a_picture(tmp_path):
    lines = edits(tmp_path, 2)
    lines[0]["responses"][1] = ["Here:", shown(picture(tmp_path, "large.png", 1, (96, 64)))]
    assert response_images(samples_of(tmp_path, lines)) == "any_size"
    lines = edits(tmp_path, 2)
    lines[0]["prompt"] = "A red square."
    assert response_images(samples_of(tmp_path, lines)) == "any_size"


def test_a_response_without_a_picture(tmp_path):
    lines = edits(tmp_path, 2)
    lines[1]["responses"][2] = "No."
    assert response_images(samples_of(tmp_path, lines)) is None
    text = {"prompt": "Which?", "responses": ["red", "blue"], "rankings": [1, 2]}
    assert response_images(samples_of(tmp_path, [*edits(tmp_path, 1), text])) is None


def test_samples_without_pictures_among_others_are_told(tmp_path):
    lines = edits(tmp_path, 3)
    lines[1]["responses"][2] = "No."
    notes = list[str]()
    tell_bare(samples_of(tmp_path, lines), notes.append)
    (told,) = notes
    assert told.startswith("1 of 3 samples have a response without a picture (lines 2): the judge will take")
    text = {"prompt": "Which?", "responses": ["red", "blue"], "rankings": [1, 2]}
    for usual in (edits(tmp_path, 2), [text, text]):
        tell_bare(samples_of(tmp_path, usual), notes.append)
    assert len(notes) == 1


def test_sizes_are_those_of_upright_pictures(tmp_path):
    turned = Image.new("RGB", (64, 96))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    lines = edits(tmp_path, 1, 3)
    lines[0]["prompt"][0] = shown(picture(tmp_path, "source.png", 1, (96, 64)))
    lines[0]["responses"] = [[shown("turned.png")]] * 3
    assert response_images(samples_of(tmp_path, lines)) == "same_size"


def test_pictures_that_the_line_holds_itself(tmp_path):
    lines = edits(tmp_path, 1)
    held = base64.b64encode((tmp_path / "edit-0-1.png").read_bytes()).decode()
    lines[0]["responses"][0] = [shown(f"data:image/png;base64,{held}")]
    assert response_images(samples_of(tmp_path, lines)) == "same_size"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"objective": "joint"}, True),
        ({"objective": "joint", "language_share": 0.0}, False),
        ({"objective": "plackett_luce"}, False),
    ],
)
def test_rationales_count_where_they_are_learnt(settings, expected, tmp_path):
    samples = samples_of(tmp_path, edits(tmp_path, 2))
    facts = facts_of(samples, Recipe("base", "data", "out", **settings))
    assert (facts.rationales, facts.trained_n) == (expected, (3, 3))
    for numbered in (lines := edits(tmp_path, 2)):
        numbered["rationales"] = [None] * 3
    assert not facts_of(samples_of(tmp_path, lines), Recipe("base", "data", "out", **settings)).rationales
