"""Bad samples: found before training, with line numbers and counts, and left out only where that was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.small import write_base
from yoj.training._errors import DataError
from yoj.training._recipe import Recipe
from yoj.training.samples import SHOWN, read_samples
from yoj.training.setup import load_samples

pytestmark = pytest.mark.slow

GOOD: dict[str, Any] = {"prompt": "Which?", "responses": ["red", "blue", "green"], "rankings": [2, 1, 3]}
TEXTS = ["Which is red, blue or green? " * 3] * 4


@pytest.fixture(scope="session")
def small_base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples") / "base"
    write_base("qwen3_vl", TEXTS, folder, layers=4)
    return folder


class Run:
    """A recipe over lines of a file, and what was said."""

    def __init__(self, base: Path, folder: Path):
        self.folder, self.base, self.notes = folder, base, list[str]()
        Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(folder / "good.png")

    def write(self, lines: list[dict[str, Any] | str], name: str = "train.jsonl") -> Path:
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        (self.folder / name).write_text("\n".join(texts) + "\n", "utf-8")
        return self.folder / name

    def recipe(self, **settings) -> Recipe:
        settings = {"workers": 0, "accumulation": 1} | settings
        paths = [str(self.base), str(self.folder / "train.jsonl"), str(self.folder / "run")]
        return Recipe(*paths, **settings)

    def load(self, lines, skip: bool = False, packs: bool = True, **settings) -> list[int]:
        """Lines that are left."""
        self.write(lines)
        samples, _ = load_samples(self.recipe(**settings), skip, packs, self.notes.append)
        return [numbered.line for numbered in samples]

    def refused(self, lines, **settings) -> str:
        with pytest.raises(DataError) as caught:
            self.load(lines, **settings)
        assert not (self.folder / "run").exists()
        return str(caught.value)


@pytest.fixture
def data(small_base, tmp_path):
    return Run(small_base, tmp_path)


def changed(**fields) -> dict[str, Any]:
    return GOOD | fields


LINES = [
    pytest.param(changed(rankings=[1, 2]), "lengths", "2 rankings for 3 responses", id="rankings of another length"),
    pytest.param(changed(rating=3), "unknown field", "The field 'rating' is not read", id="unknown field"),
    pytest.param(changed(image="none.png"), "missing media", "none.png: no such file", id="missing image"),
    pytest.param(changed(image=["good.png", "no.png"]), "missing media", "no.png: no such", id="missing second image"),
    pytest.param(changed(video="clip.mp4"), "missing media", "clip.mp4: no such file", id="missing video"),
    pytest.param(changed(image=""), "unreadable media", "image is an empty text", id="empty path"),
    pytest.param(changed(image="data:image/png;base64," + 600 * "A"), "unreadable media", "images[0]", id="data"),
    pytest.param(changed(rankings=[2, 2, 2]), "all tied", "all 3 responses have rank 2", id="all tied"),
    pytest.param(changed(responses=["red"], rankings=[1]), "all tied", "nothing can be learnt", id="one response"),
    pytest.param(changed(responses=[], rankings=[]), "no responses", "there are no responses", id="no responses"),
    pytest.param({"prompt": "Which?", "responses": ["a", "b"]}, "no rankings", "no rankings", id="no rankings"),
    pytest.param(changed(responses="red"), "not a sample", "`array`", id="a response that is no list"),
    pytest.param(changed(grades=["good"]), "lengths", "1 grades for 3 responses", id="grades of another length"),
    pytest.param({"responses": ["a", "b"], "rankings": [1, 2]}, "not a sample", "has no prompt", id="no prompt"),
    pytest.param("{not json", "not a sample", "is not JSON", id="no JSON"),
    pytest.param(changed(seconds_between_frames=0), "not a sample", "seconds_between_frames is 0", id="no time"),
    pytest.param(changed(prompt="Which? " * 300), "too long", "max_length of the recipe is 200", id="too long"),
    pytest.param(changed(image="short.png"), "unreadable media", "images[0]", id="truncated image"),
    pytest.param(changed(image="text.png"), "unreadable media", "images[0]", id="no image"),
    pytest.param(changed(image=["good.png"] * 12), "too many visual tokens", "48 visual tokens", id="visual tokens"),
    pytest.param(changed(prompt="\ud800"), "not a sample", "", id="half a character"),
    pytest.param(changed(seconds_between_frames=2), "not a sample", "is given without a video", id="time of no video"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "kind", "text"), LINES)
def test_a_bad_line_is_reported_and_left_out_where_that_was_asked_for(data, line, kind, text):
    picture = (data.folder / "good.png").read_bytes()
    (data.folder / "short.png").write_bytes(picture[: len(picture) // 2])
    (data.folder / "text.png").write_text("no picture", "utf-8")
    lines, limits = [GOOD, line, GOOD], {"max_length": 200, "max_vision_tokens": 40}
    message = data.refused(lines, **limits)
    assert f"train.jsonl: 1 samples cannot be trained on (1 {kind}):\n  line 2: " in message
    assert text in message
    assert "--skip-invalid" in message
    assert data.load(lines, skip=True, **limits) == [1, 3]
    (said,) = data.notes
    assert said.endswith("They are left out.")
    assert "line 2: " in said


@pytest.mark.parametrize("lines", [[], ["", "  "]])
def test_a_file_without_samples_is_refused(lines, data):
    assert "train.jsonl holds no samples. Give at least one." in data.refused(lines)


def test_what_is_good_is_not_reported(data):
    Image.fromarray(np.zeros((40, 90, 3), np.uint8)).save(data.folder / "frame.png")
    lines = [
        GOOD,
        changed(rankings=[1, 1, 2], image="good.png", kind="which", grades=["a", "b", "c"], scene=3),
        "",
        changed(rankings=[1, 2.5, 2.5], image=["good.png", "frame.png"]),
        changed(video=["good.png", "good.png"], seconds_between_frames=1),
        changed(image=None, language={"prompt": "What?", "target": "red"}),
    ]
    assert data.load(lines) == [1, 2, 4, 5, 6]
    assert data.load(lines, objective="joint") == [1, 2, 4, 5, 6]
    assert data.notes == []


def test_line_numbers_count_blank_lines_and_other_line_ends(data):
    file = data.write([GOOD])
    line = json.dumps(GOOD, ensure_ascii=False)
    odd = json.dumps(changed(prompt="a\u2028b\x85c"), ensure_ascii=False)
    file.write_bytes("\r\n".join([line, "", odd, '{"prompt": 1}', line]).encode())
    samples, problems = read_samples(file)
    assert [numbered.line for numbered in samples] == [1, 3, 5]
    assert [problem.line for problem in problems] == [4]


def test_all_problems_are_counted_and_the_first_are_named(data):
    many = [changed(rating=1)] * 8 + [changed(rankings=[1])] * 6
    message = data.refused([GOOD, *many, GOOD])
    assert "14 samples cannot be trained on (8 unknown field, 6 lengths):" in message
    assert message.count("\n  line ") == SHOWN
    assert "\n  and lines 12, 13, 14, 15\n" in message


def test_problems_of_both_passes_are_reported_together_in_order(data):
    message = data.refused([changed(prompt="Which? " * 300), GOOD, changed(rating=1)], max_length=200)
    assert "2 samples cannot be trained on" in message
    assert "tokens; max_length of the recipe is 200" in message
    assert message.index("line 1: ") < message.index("line 3: ")


def test_errors_name_the_id_of_a_sample(data):
    lines = [changed(id="a"), changed(id=7, rating=1), changed(id="b", rankings=[1, 2]), changed(id=1.5, rating=1)]
    lines += [changed(id="c", image="none.png"), changed(id="d", prompt="Which? " * 300), changed(rankings=[2, 2, 2])]
    message = data.refused(lines, max_length=200)
    for said in ("2 (id 7)", "3 (id 'b')", "4", "5 (id 'c')", "6 (id 'd')", "7"):
        assert f"\n  line {said}: " in message
    # Where ids are equal lines are told apart by their numbers.
    assert data.load([changed(id="a"), changed(id="a", metadata={"of": [1]})]) == [1, 2]


def test_samples_held_out_are_checked_too(data):
    held_out = data.write([GOOD, changed(rankings=[1, 1, 1])], "held_out.jsonl")
    message = data.refused([GOOD], held_out=str(held_out))
    assert "held_out.jsonl: 1 samples" in message
    data.load([GOOD], skip=True, held_out=str(held_out))
    assert "held_out.jsonl" in data.notes[0]


def test_without_reading_media_lines_are_checked_all_the_same(data):
    long = changed(prompt="Which? " * 300)
    assert data.load([GOOD, long], packs=False, max_length=200) == [1, 2]
    assert "1 unknown field" in data.refused([GOOD, changed(rating=1)], packs=False)


def test_a_text_to_learn_is_held_to_the_limits(data):
    lines = [GOOD, changed(language={"prompt": "What?", "target": "red " * 300})]
    assert "line 2: 316 tokens" in data.refused(lines, objective="joint", max_length=200)
    assert data.load(lines, max_length=200) == [1, 2]


def test_a_base_model_learns_from_samples_without_rankings(data):
    lines = [{"prompt": "What?", "responses": ["red"]}, changed(rankings=[1, 1, 1]), changed(rankings=[1])]
    settings = {"objective": "language", "trainable": "all"}
    assert "(1 lengths):\n  line 3: 1 rankings for 3 responses" in data.refused(lines, **settings)
    assert data.load(lines, skip=True, **settings) == [1, 2]
    # What is not learnt may be long.
    long = changed(responses=["red", "blue " * 300, "green"], rankings=[1, 2, 3])
    assert data.load([long], max_length=200, **settings) == [1]


def test_no_file(data):
    with pytest.raises(DataError, match=r"train\.jsonl cannot be read: .*Give a file of JSON lines"):
        load_samples(data.recipe(), False, True, data.notes.append)


def test_too_few_samples_for_a_step(data):
    data.write([GOOD] * 3)
    recipe = data.recipe(batch_size=2, accumulation=2)
    with pytest.raises(DataError, match=r"train\.jsonl: 3 samples are less than one step of 4, batch_size x"):
        load_samples(recipe, False, True, data.notes.append)


def test_an_array_is_not_json_lines(data):
    file = data.write([GOOD])
    file.write_text(json.dumps([GOOD, GOOD], indent=1), "utf-8")
    with pytest.raises(DataError, match=r"train\.jsonl holds one JSON array\. Convert it to JSON lines: jq"):
        read_samples(file)


def test_a_byte_order_mark_is_passed_over(data):
    file = data.write([GOOD])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    samples, problems = read_samples(file)
    assert ([numbered.line for numbered in samples], problems) == ([1], [])
