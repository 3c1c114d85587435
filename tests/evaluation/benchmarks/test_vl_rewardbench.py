"""VL-RewardBench: its Parquet files, groups, figures and the form of its own script."""

from __future__ import annotations

import pytest
from benchmark_files import lines_of, png, read_all, scored, write_jsonl, write_parquet

from yoj.evaluation import EvaluationError
from yoj.evaluation.benchmarks._table import BENCHMARKS
from yoj.evaluation.benchmarks._vl_rewardbench import group_of

BENCH = BENCHMARKS["vl-rewardbench"]


def row(identifier, ranking=(0, 1), **changed):
    return {
        "id": identifier,
        "query": "<image>\nWhat is shown?",
        "response": [f"A cat of {identifier}.", "A bus."],
        "image": {"bytes": png(), "path": None},
        "human_ranking": list(ranking),
        "models": ["m1", "m2"],
        "judge": "human",
        "rationale": "It is a cat.",
        "query_source": "web",
        "ground_truth": "",
    } | changed


def folder_of(tmp_path, rows):
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows)
    return tmp_path


def test_a_row_becomes_a_request_with_its_picture_and_without_the_marker(tmp_path):
    (item,), refused = read_all(BENCH, folder_of(tmp_path, [row("RLAIF-V-1", (1, 0))]))
    assert not refused
    assert item.request.prompt == "What is shown?"
    assert item.request.responses == ["A cat of RLAIF-V-1.", "A bus."]
    assert item.request.images == [png()]
    assert item.ranks == (2.0, 1.0)
    assert (item.id, item.category) == ("RLAIF-V-1", "hallucination")
    assert item.native["query"] == "<image>\nWhat is shown?"


def test_other_markers_stay_in_the_prompt_as_text(tmp_path):
    (item,), _ = read_all(BENCH, folder_of(tmp_path, [row("a", query="What does <image> mean in HTML?")]))
    assert item.request.prompt == "What does <image> mean in HTML?"
    assert item.request.placeholders == "text"


@pytest.mark.parametrize(
    ("identifier", "group"),
    [
        ("RLAIF-V-123", "hallucination"),
        ("RLHF-V_7", "hallucination"),
        ("hallucination_pair-3", "hallucination"),
        ("POVID-3", "hallucination"),
        ("mathverse_12", "reasoning"),
        ("mmmu-val_1", "reasoning"),
        ("wildvision-battle_1", "general"),
        ("VLFeedback-1", "general"),
        ("rlaif-v-1", "general"),  # as the official script, which knows it in upper case alone
        ("mathverse", "reasoning"),
        ("42", "general"),
    ],
)
def test_the_group_is_the_beginning_of_the_id(identifier, group):
    assert group_of(identifier) == group


def test_rows_of_one_id_are_different_items_and_the_same_pair_in_another_order_is_not(tmp_path):
    first = row("twice")
    other = row("twice", response=["A dog.", "A bus."])
    swapped = row("twice", (1, 0), response=first["response"][::-1])
    items, (refused,) = read_all(BENCH, folder_of(tmp_path, [first, other, swapped]))
    assert [item.id for item in items] == ["twice", "twice"]
    assert items[0].key != items[1].key
    assert items[0].group == items[1].group
    assert (refused.row, refused.id, refused.kind) == (3, "twice", "duplicate")


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"response": ["A cat."]}, "number of responses"),
        ({"response": ["A cat.", " "]}, "empty response"),
        ({"human_ranking": [0, 1, 2]}, "ranking length"),
        ({"human_ranking": [0, 0]}, "wrong value"),
        ({"human_ranking": [1, 2]}, "wrong value"),
        ({"image": None}, "missing image"),
        ({"image": {"bytes": None, "path": "a.png"}}, "missing image"),
        ({"query": "<image>\n"}, "empty prompt"),
    ],
)
def test_a_faulty_row_is_refused_by_its_kind(tmp_path, changed, kind):
    items, (refused,) = read_all(BENCH, folder_of(tmp_path, [row("good"), row("bad", **changed)]))
    assert len(items) == 1
    assert (refused.row, refused.id, refused.kind) == (2, "bad", kind)


def test_copies_in_other_forms_are_refused_by_the_missing_field(tmp_path):
    table = tmp_path / "vl_rewardbench.tsv"
    table.write_text("index\timage\tquestion\tresponse\tanswer\tcategory\n0\tAAAA\tQ\t['a', 'b']\t[0, 1]\tgeneral\n")
    with pytest.raises(EvaluationError, match=r"'id' is missing.* index, image, question, response, answer, category"):
        read_all(BENCH, table)
    lines = {"id": "RLAIF-1", "prompt": "Q", "chosen": "a", "rejected": "b", "image": "vl_reward/img/image_0.jpg"}
    with pytest.raises(EvaluationError, match=r"'query' is missing.* id, prompt, chosen.* data/test-\*\.parquet"):
        read_all(BENCH, write_jsonl(tmp_path / "r1.jsonl", [lines]))


def test_a_folder_without_tables_says_what_was_looked_for(tmp_path):
    with pytest.raises(EvaluationError, match=r"looked for data/test-\*\.parquet"):
        read_all(BENCH, tmp_path)


def test_figures_by_hand(tmp_path):
    """Hallucination 2 of 4, general 1 of 1, reasoning 0 of 1: 3 of 6 in all, (1/2 + 1 + 0) / 3 as the mean."""
    names = ["RLAIF-V-1", "RLHF-V-2", "hallucination_3", "RLAIF-V-4", "wildvision-battle_5", "mathverse_6"]
    items, _ = read_all(BENCH, folder_of(tmp_path, [row(name, (0, 1)) for name in names]))
    scores = [(2, 1), (2, 1), (1, 2), (), (3, 0), (1, 1)]
    run = [scored(item, *map(float, of)) for item, of in zip(items, scores, strict=True)]
    figures = BENCH.measure(run, BENCH.ties)
    assert figures.headline == "overall"
    assert figures.values == {
        "overall": 0.5,
        "macro": 0.5,
        "category/general": 1.0,
        "category/hallucination": 0.5,
        "category/reasoning": 0.0,
    }
    assert figures.counts == {
        "overall": 6,
        "macro": 3,
        "category/general": 1,
        "category/hallucination": 4,
        "category/reasoning": 1,
    }
    assert BENCH.measure(run, "right").values["overall"] == pytest.approx(4 / 6)
    assert BENCH.measure(run, "share").values["category/reasoning"] == 0.5
    assert "macro" not in BENCH.measure(run[:4], "wrong").values


def test_predictions_are_in_the_form_of_the_official_script(tmp_path):
    items, _ = read_all(BENCH, folder_of(tmp_path, [row("a", (1, 0)), row("b", (1, 0)), row("c"), row("d")]))
    run = [scored(items[0], 1.0, 2.0), scored(items[1], 2.0, 1.0), scored(items[2], 1.0, 1.0), scored(items[3])]
    written = lines_of(BENCH.write_official(run, tmp_path / "out"))
    assert [one["id"] for one in written] == ["a", "b", "c"]
    assert written[0] == {
        "id": "a",
        "query": "<image>\nWhat is shown?",
        "models": ["m1", "m2"],
        "judge": "human",
        "rationale": "It is a cat.",
        "query_source": "web",
        "response": ["A cat of a.", "A bus."],
        "ranking": [1, 0],
        "meta": {
            "filter_choice": "Overall Judgment: Answer 2 is better.",
            "filter_number": 2,
            "random_number": 0,
            "flag_status": "agree",
        },
    }
    assert [one["meta"]["flag_status"] for one in written] == ["agree", "reject", "reject"]
    assert "Answer 2" in written[2]["meta"]["filter_choice"]  # equal scores count as wrong
