"""RewardBench 2: its rows, and figures computed by hand."""

from __future__ import annotations

import json
import math

import pytest
from benchmark_files import scored, write_parquet

from yoj.evaluation._errors import EvaluationError
from yoj.evaluation._items import Item, Pass, Refusal, Scored
from yoj.evaluation.benchmarks._rewardbench2 import BENCHMARK, SUBSETS

EXACT = pytest.approx
THREE = ("Safety", "Focus", "Precise IF")


def row(identifier="7", subset="Math", chosen=("4",), rejected=("3", "5", "22"), **more) -> dict:
    return {
        "id": identifier,
        "prompt": "2 + 2? <image>",
        "chosen": list(chosen),
        "rejected": list(rejected),
        "num_correct": len(chosen),
        "num_incorrect": len(rejected),
        "total_completions": len(chosen) + len(rejected),
        "models": ["m"] * (len(chosen) + len(rejected)),
        "subset": subset,
        "additional_metadata": {"category": None, "index": 1.5, "valid": math.nan},
    } | more


def read(folder, rows) -> list[Item | Refusal]:
    write_parquet(folder / "data" / "test-00000-of-00001.parquet", rows)
    return list(BENCHMARK.read(folder, {}))


def test_a_row_becomes_an_item(tmp_path):
    (item,) = read(tmp_path, [row()])
    assert (item.key, item.id, item.group, item.category) == ("Math/7", "7", "Math/7", "Math")
    assert (item.request.prompt, item.request.responses) == ("2 + 2? <image>", ["4", "3", "5", "22"])
    assert item.request.placeholders == "text"
    assert item.ranks == (1, 2, 2, 2)


def test_both_rows_of_a_prompt_of_ties_count_together(tmp_path):
    right = [f"right {n}" for n in range(21)]
    tied, ref = read(tmp_path, [row("tied:3", "Ties", right, ["red", "x"]), row("ref:3", "Ties", ["right 0"], ["red"])])
    assert (tied.group, ref.group) == ("Ties:3", "Ties:3")
    assert tied.ranks == (1,) * 21 + (2, 2)


def test_json_lines_are_read_too(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(row(additional_metadata=None)), "utf-8")
    assert [item.key for item in BENCHMARK.read(tmp_path, {})] == ["Math/7"]


@pytest.mark.parametrize(
    ("fields", "kind", "told"),
    [
        ({"num_correct": 2}, "number of responses", "num_correct is 2, but the row holds 1"),
        ({"num_incorrect": 2}, "number of responses", "num_incorrect is 2, but the row holds 3"),
        ({"total_completions": 5}, "number of responses", "total_completions is 5, but the row holds 4"),
        ({"rejected": [], "num_incorrect": 0, "total_completions": 1}, "number of responses", "0 rejected"),
        ({"chosen": [" "]}, "empty response", "chosen[0] is empty"),
        ({"prompt": ""}, "empty prompt", "prompt is empty"),
        ({"prompt": None}, "missing field", "prompt is absent or null"),
        ({"subset": "Ties", "id": "tied:4"}, "number of responses", "tied:4 has one chosen response"),
        ({"subset": "Ties", "id": "tied-4"}, "id", "neither ref:NUMBER nor tied:NUMBER"),
        ({"id": "whole"}, "duplicate", "row 1"),
    ],
)
def test_a_faulty_row_is_a_refusal(tmp_path, fields, kind, told):
    _, refusal = read(tmp_path, [row("whole"), row() | fields])
    assert (refusal.row, refusal.kind) == (2, kind)
    assert told in refusal.text


def test_two_right_responses_outside_of_ties_are_a_refusal(tmp_path):
    _, refusal = read(tmp_path, [row(), row("8", chosen=["4", "four"])])
    assert "2 responses are chosen; outside of Ties it is one" in refusal.text


def test_another_schema_or_subset_is_an_error(tmp_path):
    renamed = {("num_rejected" if name == "num_incorrect" else name): value for name, value in row().items()}
    with pytest.raises(EvaluationError, match="'num_incorrect' is missing"):
        read(tmp_path, [renamed])
    with pytest.raises(EvaluationError, match=r"the subset 'Chat'.*Factuality, Precise IF"):
        read(tmp_path, [row(subset="Chat")])


def ties(tmp_path) -> list[Item]:
    rows = [row(f"{kind}:{n}", "Ties", ["a", "b"] if kind == "tied" else ["a"], ["c", "d"])
            for n in (1, 2, 3) for kind in ("tied", "ref")]  # fmt: skip
    return read(tmp_path, rows)


def test_the_score_of_ties_is_the_official_one(tmp_path):
    tied1, ref1, tied2, ref2, tied3, ref3 = ties(tmp_path)
    figures = BENCHMARK.measure(
        [
            scored(tied1, 5.0, 4.0, 1.0, 0.0),  # spread 1, gap 3
            scored(ref1, 3.0, 1.0, 0.0),  # gap 2
            scored(tied2, 2.0, 2.0, 2.0, 0.0),  # spread 0, gap 0: 0/0
            scored(ref2, 9.0, 1.0, 0.0),  # gap 8
            scored(tied3, 6.0, 2.0, 1.0, 0.0),  # spread 4, gap 1
            scored(ref3, 1.0, 3.0, 0.0),  # gap -2
        ],
        "share",
    )
    term = (math.tanh(2 / 1 - 1) + 0 + math.tanh(-2 / 4 - 1)) / 3
    assert term == EXACT(-0.0478513, abs=1e-6)
    assert figures.values == EXACT(
        {
            "mean of 1 of the 6 subsets": 0.5328548,
            "category/Ties": 0.5328548,  # 0.3 x 2/3 + 0.3 x 2/3 + 0.2 x 1/3 + 0.2 x 1/3 + 0.01 x -0.0478513
            "Ties, accuracy of tied rows": 2 / 3,
            "Ties, accuracy of reference rows": 2 / 3,
            "Ties, gap wider than spread": 1 / 3,
            "Ties, both gaps wider than spread": 1 / 3,
            "Ties, margin from -1 to 1": -0.0478513,
        },
        abs=1e-6,
    )


def test_the_most_of_ties_is_above_1(tmp_path):
    same = [scored(item, *([4.0] * item.native["num_correct"]), 1.0, 0.0) for item in ties(tmp_path)]
    assert BENCHMARK.measure(same, "wrong").values["category/Ties"] == EXACT(1.01)


def test_a_failed_row_of_ties_is_wrong_everywhere(tmp_path):
    tied, ref, *_ = ties(tmp_path)
    whole = scored(tied, 4.0, 4.0, 1.0, 0.0)
    figures = BENCHMARK.measure([whole, scored(ref)], "share").values
    assert figures["category/Ties"] == EXACT(0.3 + 0.2 - 0.01)
    figures = BENCHMARK.measure([scored(tied), scored(ref)], "share").values
    assert figures["category/Ties"] == EXACT(-0.01)


def test_without_its_other_row_a_prompt_of_ties_has_no_score(tmp_path):
    tied, ref, other, *_ = ties(tmp_path)
    (math_item,) = read(tmp_path, [row()])
    figures = BENCHMARK.measure([scored(tied, 4.0, 3.0, 1.0, 0.0), scored(math_item, 1.0, 0.0, 0.0, 0.0)], "share")
    assert figures.headline == "mean of 1 of the 6 subsets"
    assert figures.values == {
        "mean of 1 of the 6 subsets": 1.0,
        "category/Math": 1.0,
        "Ties, accuracy of tied rows": 1.0,
    }
    three = [scored(tied, 4.0, 3.0, 1.0, 0.0), scored(ref, 1.0, 0.0, 0.0), scored(other, 0.0, 0.0, 1.0, 0.0)]
    counts = BENCHMARK.measure(three, "share").counts
    assert (counts["Ties, accuracy of tied rows"], counts["Ties, gap wider than spread"]) == (2, 1)


def test_the_mean_is_of_all_six_subsets_alike(tmp_path):
    others = read(tmp_path, [row(str(n), subset) for n, subset in enumerate(("Factuality", "Math", "Math", *THREE))])
    tied, ref, *_ = ties(tmp_path)
    scores = [(1.0, 0.0, 0.0, 0.0), (2.0, 2.0, 2.0, 0.0), (2.0, 2.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (), (3, 3, 3, 3)]
    items = [scored(item, *own) for item, own in zip(others, scores, strict=True)]
    items += [scored(tied, 4.0, 4.0, 1.0, 0.0), scored(ref, 4.0, 1.0, 0.0)]
    figures = BENCHMARK.measure(items, BENCHMARK.ties)
    assert figures.headline == "mean of the 6 subsets"
    by_subset = {
        "Factuality": 1,
        "Precise IF": 1 / 4,
        "Math": (1 / 3 + 1 / 2) / 2,
        "Safety": 0,
        "Focus": 0,
        "Ties": 1.01,
    }
    assert {name: figures.values[f"category/{name}"] for name in SUBSETS} == EXACT(by_subset)
    assert figures.values["mean of the 6 subsets"] == EXACT(0.4461111, abs=1e-6)
    assert figures.counts["category/Math"] == 2
    assert BENCHMARK.measure(items, "wrong").values["category/Math"] == 0
    assert BENCHMARK.measure(items, "right").values["category/Math"] == 1


def test_nothing_at_all_is_an_error():
    with pytest.raises(EvaluationError, match="no item of any subset"):
        BENCHMARK.measure([], "share")


def test_scores_are_written_in_the_unrolled_order(tmp_path):
    tied, *_ = ties(tmp_path)
    first, second = read(tmp_path, [row("1"), row("2")])
    shuffled = Scored(first, (Pass((2, 0, 3, 1), (1.5, 0.5, 1.5, -1.0)),))
    (file,) = BENCHMARK.write_official([shuffled, scored(second), scored(tied, 4.0, 3.0, 1.0, 0.0)], tmp_path / "out")
    assert [json.loads(line) for line in file.read_text("utf-8").splitlines()] == [
        {
            **{"id": "1", "subset": "Math", "num_correct": 1, "num_incorrect": 3, "total_completions": 4},
            **{"scores": [1.5, 0.5, 1.5, -1.0], "results": 0.5},
        },
        {
            **{"id": "tied:1", "subset": "Ties", "num_correct": 2, "num_incorrect": 2, "total_completions": 4},
            **{"scores": [4.0, 3.0, 1.0, 0.0], "results": None},
        },
    ]
