"""Samples with rankings by dimension and rationales: what is refused, and what the language path learns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tiny_edits import DIMENSIONS, edits
from tiny_training import Setup

from yoj.runtime import Request
from yoj.training._errors import DataError
from yoj.training._recipe import Head
from yoj.training.samples import explanation, read_samples
from yoj.training.setup import load_samples

pytestmark = pytest.mark.slow

HEAD = Head(hidden=16, init_std=0.3, dimensions=DIMENSIONS)
ASK = "Why?"
TEXTS: dict[str, Any] = {"prompt": "Which?", "responses": ["red", "blue", "green"]}


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dimensions")
    return Setup.make(folder, lambda folder: write(folder, edits(folder)))


def write(folder, lines) -> None:
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def load(setup, lines, skip: bool = False, **settings) -> tuple[list[int], list[str]]:
    """Lines that are left, and what was said."""
    write(setup.folder, lines)
    notes = list[str]()
    recipe = setup.recipe("qwen3_vl", "none", **{"objective": "joint", "head": HEAD, "batch_size": 1} | settings)
    samples, _ = load_samples(recipe, skip, True, notes.append)
    return [numbered.line for numbered in samples], notes


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"dimension_rankings": {"instruction": [1, 2]}}, "lengths", "has 2 ranks for 3 responses"),
        ({"dimension_rankings": {"style": [1, 2, 3]}}, "unknown dimension", "names style; the dimensions of the head"),
        ({"dimension_rankings": {"quality": [None] * 3}}, "all tied", "no dimension ranks two responses differently"),
        ({"dimension_rankings": {"quality": [1, 1, 1]}}, "all tied", "no dimension ranks two responses differently"),
        ({"dimension_rankings": {"quality": [4, 2, 9]}}, "no ranks", "dimension_rankings.quality, without nulls"),
        ({"dimension_rankings": None}, "no rankings", "there are no dimension_rankings, and the head has the"),
        ({"dimension_rankings": [[1, 2, 3]]}, "not a sample", "give lists of ranks by dimension"),
        ({"dimension": "quality"}, "not for training", "dimension is how a judge is asked"),
        ({"rationales": ["Good."]}, "lengths", "1 rationales for 3 responses"),
        ({"rationales": ["Good.", 3, None]}, "not a sample", "give a list of texts, one for each response, null for"),
        ({"rationales": ["Good. " * 900, None, None]}, "too long", "max_length of the recipe is 1,024"),
    ],
)
def test_a_bad_line_is_reported(change, kind, text, setup):
    lines = edits(setup.folder, 3)
    lines[1] |= change
    with pytest.raises(DataError) as caught:
        load(setup, lines)
    assert f"1 samples cannot be trained on (1 {kind}):\n  line 2: " in str(caught.value)
    assert text in str(caught.value)
    assert load(setup, lines, skip=True)[0] == [1, 3]


def test_one_dimension_may_say_nothing_where_another_does(setup):
    lines = edits(setup.folder, 4)
    lines[0]["dimension_rankings"] = {"quality": [1, None, 2]}
    lines[1]["dimension_rankings"] = {"instruction": [1, 1, 1], "quality": [1, 1, 2]}
    del lines[2]["rankings"]
    assert load(setup, lines) == ([1, 2, 3, 4], [])


def test_overall_rankings_alone_are_enough_for_an_evaluation(setup):
    lines = edits(setup.folder, 3)
    held_out = [{name: value for name, value in line.items() if name != "dimension_rankings"} for line in lines]
    (setup.folder / "held_out.jsonl").write_text("".join(json.dumps(line) + "\n" for line in held_out), "utf-8")
    left, notes = load(setup, lines, held_out=str(setup.folder / "held_out.jsonl"))
    assert left == [1, 2, 3]
    assert all("held-out samples are trained on too" in note for note in notes)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "plackett_luce"}, ["rationales of 3 samples are not learnt, since objective plackett_luce"]),
        ({"language_share": 0.0}, ["rationales of 3 samples are not learnt, since language_share is 0."]),
        ({"head": Head()}, ["dimension_rankings of 3 samples are not learnt, since head.dimensions names none."]),
        ({"objective": "language", "trainable": "all", "head": Head()}, ["dimension_rankings of 3 samples"]),
    ],
)
def test_what_is_not_learnt_is_said(settings, words, setup):
    left, notes = load(setup, edits(setup.folder, 3), **settings)
    assert left == [1, 2, 3]
    assert len(notes) == len(words)
    assert all(word in note for word, note in zip(words, notes, strict=True))


@pytest.mark.parametrize("rationales", [None, [None] * 3])
def test_samples_without_a_text_are_ranked_alone(rationales, setup):
    lines = edits(setup.folder, 3)
    lines[1]["rationales"] = rationales
    left, (note,) = load(setup, lines)
    assert left == [1, 2, 3]
    assert "1 of 3 samples have no text to learn" in note
    assert ", line 2 among them" in note
    for line in lines:
        line["rationales"] = rationales
    with pytest.raises(DataError, match=r"train\.jsonl holds no text to learn\. Give rationales, .* to 0"):
        load(setup, lines)
    assert load(setup, lines, language_share=0.0)[0] == [1, 2, 3]


@pytest.mark.parametrize("rationales", [None, [None] * 3])
def test_a_base_learns_nothing_from_samples_without_a_text(rationales, setup):
    lines = edits(setup.folder, 3)
    lines[1]["rationales"] = rationales
    with pytest.raises(DataError, match=r"\(1 no text\):\n  line 2: there is no text to learn: give rationales"):
        load(setup, lines, objective="language", trainable="all", head=Head())


def lessons(setup, line: dict[str, Any]) -> list[Request]:
    write(setup.folder, [line])
    ((numbered,), _) = read_samples(setup.folder / "train.jsonl")
    found = numbered.lessons(ASK)
    assert numbered.has_text == bool(found)
    return found


def test_a_rationale_is_asked_for_behind_prompt_and_response(setup):
    line = edits(setup.folder, 1)[0]
    first, second = lessons(setup, line)
    assert (first.responses, second.responses) == (["Square 0 is red."], ["Another square changed."])
    (turn,) = first.prompt
    source, text, answer, ask = turn.content
    assert (source.source.name, text, answer.source.name, ask) == (
        "edit-0-0.png", "Make square 0 red.", "edit-0-1.png", ASK
    )  # fmt: skip
    assert turn.role == "user"
    assert second.prompt[0].content[2].source.name == "edit-0-2.png"


def test_the_short_form_and_a_conversation_are_asked_in_the_last_turn(setup):
    short = TEXTS | {"rankings": [1, 2, 3], "image": "edit-0-0.png", "rationales": [None, "So.", None]}
    (found,) = lessons(setup, short)
    (turn,) = found.prompt
    assert [getattr(part, "source", part) for part in turn.content[1:]] == ["Which?", "blue", ASK]
    assert turn.content[0].source.name == "edit-0-0.png"
    request = Request([{"role": "system", "content": "Be strict."}, {"role": "user", "content": "Which?"}], ["<image>"])
    found = explanation(request, 0, ASK, "So.")
    assert [(turn.role, turn.content) for turn in found.prompt] == [
        ("system", ["Be strict."]), ("user", ["Which?", "<image>", ASK])
    ]  # fmt: skip
    assert found.placeholders == "text"


def test_language_is_learnt_beside_rationales_and_the_best_without_them(setup):
    ranked = TEXTS | {"rankings": [2, 1, 1], "language": {"prompt": "What?", "target": "This."}}
    assert [one.responses for one in lessons(setup, ranked)] == [["This."]]
    both = lessons(setup, ranked | {"rationales": ["a", None, "c"]})
    assert [one.responses for one in both] == [["a"], ["c"], ["This."]]
    assert [one.responses for one in lessons(setup, TEXTS | {"rankings": [2, 1, 1]})] == [["blue"], ["green"]]
