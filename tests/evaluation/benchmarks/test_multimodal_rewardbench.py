"""Multimodal RewardBench: its JSON list, split categories, figures and the form of its own script."""

from __future__ import annotations

import json

import pytest
from benchmark_files import lines_of, read_all, scored, write_picture

from yoj.evaluation import EvaluationError
from yoj.evaluation.benchmarks._multimodal_rewardbench import category_of
from yoj.evaluation.benchmarks._table import BENCHMARKS

BENCH = BENCHMARKS["multimodal-rewardbench"]


def row(identifier, better="Output1", category="open_generation/correctness_task", **changed):
    return {
        "ID": identifier,
        "Image": "images/nocaps/1.jpg",
        "Text": "Describe the image.",
        "Output1": f"One of {identifier}.",
        "Output2": "Two.",
        "Better": better,
        "Category": category,
    } | changed


def folder_of(tmp_path, rows):
    write_picture(tmp_path / "data" / "images" / "nocaps" / "1.jpg")
    (tmp_path / "data" / "all_data.json").write_text(json.dumps(rows, indent=2))
    return tmp_path


def test_a_row_becomes_a_request_with_the_file_of_its_picture(tmp_path):
    (item,), refused = read_all(BENCH, folder_of(tmp_path, [row("nocaps_1", "Output2")]))
    assert not refused
    assert item.request.prompt == "Describe the image."
    assert item.request.responses == ["One of nocaps_1.", "Two."]
    assert item.request.images == [tmp_path / "data" / "images" / "nocaps" / "1.jpg"]
    assert (item.id, item.ranks, item.category) == ("nocaps_1", (2.0, 1.0), "open_generation/correctness_task")


@pytest.mark.parametrize(
    ("category", "identifier", "found"),
    [
        ("safety", "PAIRS_occupations_3", "safety/bias"),
        ("safety", "pairs_1", "safety/bias"),
        ("safety", "hateful_1", "safety/toxicity"),
        ("reasoning", "MathVista_3", "reasoning/math"),
        ("reasoning", "EMMA-Coding_3", "reasoning/coding"),
        ("reasoning", "pairs_1", "reasoning/coding"),
        ("Safety", "pairs_1", "Safety"),
        ("something new", "math_1", "something new"),
    ],
)
def test_safety_and_reasoning_have_two_parts_and_other_categories_stand_as_they_are(category, identifier, found):
    assert category_of(category, identifier) == found


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"Better": "output1"}, "wrong value"),
        ({"Better": None}, "wrong value"),
        ({"Text": ""}, "empty prompt"),
        ({"Output2": "\n"}, "empty response"),
        ({"Output1": None}, "missing field"),
        ({"Image": "images/nocaps/2.jpg"}, "missing image"),
        ({"Image": None}, "missing image"),
        ({"Category": None}, "missing field"),
    ],
)
def test_a_faulty_row_is_refused_by_its_kind(tmp_path, changed, kind):
    items, (refused,) = read_all(BENCH, folder_of(tmp_path, [row("good"), row("bad", **changed)]))
    assert len(items) == 1
    assert (refused.row, refused.id, refused.kind) == (2, "bad", kind)


def test_a_row_without_the_key_of_its_picture_is_refused_and_equal_rows_are(tmp_path):
    without = row("b")
    del without["Image"]
    items, refused = read_all(BENCH, folder_of(tmp_path, [row("a"), without, row("a")]))
    assert len(items) == 1
    assert [(one.row, one.id, one.kind) for one in refused] == [(2, "b", "missing image"), (3, "a", "duplicate")]


def test_the_release_without_prompts_is_refused_with_what_to_do(tmp_path):
    without = row("a")
    del without["Text"]
    with pytest.raises(EvaluationError, match=r"'Text' is missing.*scripts/0_download_data\.py"):
        read_all(BENCH, folder_of(tmp_path, [without]))


def test_figures_by_hand(tmp_path):
    rows = [
        row("PAIRS_1", "Output1", "safety"),
        row("toxic_2", "Output2", "safety"),
        row("math_3", "Output2", "reasoning"),
    ]
    rows += [row("EMMA_4", "Output1", "reasoning"), row("nocaps_5"), row("nocaps_6")]
    items, _ = read_all(BENCH, folder_of(tmp_path, rows))
    scores = [(1, 0), (1, 0), (0, 1), (), (5, 5), (2, 1)]
    run = [scored(item, *map(float, of)) for item, of in zip(items, scores, strict=True)]
    figures = BENCH.measure(run, BENCH.ties)
    assert figures.headline == "all"
    assert figures.values == {
        "all": 0.5,
        "category/open_generation/correctness_task": 0.5,
        "category/reasoning/coding": 0.0,
        "category/reasoning/math": 1.0,
        "category/safety/bias": 1.0,
        "category/safety/toxicity": 0.0,
    }
    assert figures.counts["all"] == 6
    assert figures.counts["category/open_generation/correctness_task"] == 2


def test_predictions_are_in_the_form_of_the_official_script(tmp_path):
    rows = [row("PAIRS_1", "Output2", "safety"), row("n_2"), row("n_3"), row("n_4")]
    items, _ = read_all(BENCH, folder_of(tmp_path, rows))
    run = [scored(items[0], 1.0, 2.0), scored(items[1], 1.0, 1.0), scored(items[2], 3.0, 1.0), scored(items[3])]
    correctness = {"Category": "open_generation/correctness_task"}
    assert lines_of(BENCH.write_official(run, tmp_path / "out")) == [
        {"ID": "PAIRS_1", "Label": "B", "output": "The better answer is [[B]]", "Meta": {"Category": "safety"}},
        {"ID": "n_2", "Label": "A", "output": "The better answer is [[B]]", "Meta": correctness},
        {"ID": "n_3", "Label": "A", "output": "The better answer is [[A]]", "Meta": correctness},
    ]
