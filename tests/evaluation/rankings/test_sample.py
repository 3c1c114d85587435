"""Items of N responses sampled from full rankings."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from yoj.evaluation import EvaluationError
from yoj.evaluation.rankings import SampleSettings, has_item, read_prompts, sample_items
from yoj.runtime.lines import read_entries, read_requests

RANKING = {"item": "q1", "method": "bt", "candidates": ["a", "b", "c", "d", "e"], "ranks": [1, 2, 2, 4, 5]}
PROMPT = {
    "item": "q1",
    "prompt": "Which?",
    "image": "q1.png",
    "responses": {name: f"Answer of {name}" for name in "edcbaf"},
}


def written(folder, name, *rows):
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


def read(folder, rankings=(RANKING,), prompts=(PROMPT,)):
    return read_prompts(written(folder, "rankings.jsonl", *rankings), written(folder, "responses.jsonl", *prompts))


def test_an_item_has_its_own_ranks_and_names(tmp_path):
    items = sample_items(read(tmp_path), SampleSettings(4, count=5))
    ranks = dict(zip("abcde", [1, 2, 2, 4, 5], strict=True))
    assert sorted(item["id"] for item in items) == [f"q1-{k}" for k in range(5)]
    assert len({frozenset(item["metadata"]["models"]) for item in items}) == 5
    for item in items:
        assert list(item) == ["id", "prompt", "image", "responses", "rankings", "metadata"]
        names = item["metadata"]["models"]
        assert item["metadata"]["item"] == "q1"
        assert item["responses"] == [f"Answer of {name}" for name in names]
        assert item["rankings"] == [1 + sum(ranks[other] < ranks[name] for other in names) for name in names]
    without_a = next(item for item in items if "a" not in item["metadata"]["models"])
    assert sorted(without_a["rankings"]) == [1, 1, 3, 4]


def test_the_runtime_reads_the_items(tmp_path):
    (tmp_path / "q1.png").write_bytes(b"")
    items = sample_items(read(tmp_path), SampleSettings(3, count=10))
    file = written(tmp_path, "items.jsonl", *items)
    requests = read_requests(file)
    assert [len(request.responses) for request in requests.values()] == [3] * 10
    assert [entry.rankings for entry in read_entries(file)] == [item["rankings"] for item in items]


def test_the_best_response_stands_in_every_place_as_often(tmp_path):
    rankings = [RANKING | {"item": k, "ranks": [1, 2, 3, 4, 5]} for k in range(400)]
    items = sample_items(read(tmp_path, rankings, [PROMPT | {"item": k} for k in range(400)]), SampleSettings(4))
    places = Counter(item["rankings"].index(1) for item in items)
    assert len(items) == 400
    assert all(70 <= places[place] <= 130 for place in range(4))  # 100 with a deviation of 8.7
    models = Counter(name for item in items for name in item["metadata"]["models"])
    assert all(280 <= models[name] <= 360 for name in "abcde")  # 320 with a deviation of 8


@pytest.mark.parametrize("strict", [True, False])
def test_every_set_is_drawn_as_often(tmp_path, strict):
    """Sets of two with one best, of the ranks 1 2 2 4 5: all ten but b c."""
    prompts, sets = read(tmp_path), Counter()
    for seed in range(400):
        (item,) = sample_items(prompts, SampleSettings(2, strict_best=strict, seed=seed))
        sets["".join(sorted(item["metadata"]["models"]))] += 1
    assert ("bc" in sets) != strict
    assert len(sets) == (9 if strict else 10)
    assert all(20 <= times <= 75 for times in sets.values())  # 44 or 40 with a deviation of 6


def test_all_sets_with_one_best_can_be_had(tmp_path):
    items = sample_items(read(tmp_path), SampleSettings(4, count=4, strict_best=True))
    assert {"".join(sorted(item["metadata"]["models"])) for item in items} == {"abcd", "abce", "abde", "acde"}
    assert all(item["rankings"].count(1) == 1 for item in items)


def test_items_are_spread_over_the_prompts_and_mixed(tmp_path):
    rankings = [RANKING | {"item": f"q{k}"} for k in range(3)]
    prompts = read(tmp_path, rankings, [PROMPT | {"item": f"q{k}"} for k in range(3)])
    items = sample_items(prompts, SampleSettings(2, count=8))
    times = Counter(item["metadata"]["item"] for item in items)
    assert sorted(times.values()) == [2, 3, 3]
    assert [item["metadata"]["item"] for item in items] != sorted(item["metadata"]["item"] for item in items)
    assert sample_items(prompts, SampleSettings(2, count=8)) == items
    assert sample_items(prompts, SampleSettings(2, count=8, seed=1)) != items


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (SampleSettings(6), "responses:\nitem 'q1' has 5 candidates and 0 different samples; 1 are wanted"),
        (SampleSettings(4, 6), "item 'q1' has 5 candidates and 5 different samples; 6 are wanted"),
        (
            SampleSettings(4, 5, strict_best=True),
            "1 of 1 prompts have too few samples of 4 responses with one best response:",
        ),
    ],
)
def test_more_than_there_are_is_refused(tmp_path, wanted, told):
    with pytest.raises(EvaluationError, match=told):
        sample_items(read(tmp_path), wanted)


def test_all_prompts_with_too_few_candidates_are_counted_and_ten_named(tmp_path):
    rankings = [RANKING | {"item": k} for k in range(3)]
    rankings += [RANKING | {"item": k, "candidates": ["a", "b"], "ranks": [1, 2]} for k in range(3, 15)]
    prompts = read(tmp_path, rankings, [PROMPT | {"item": k} for k in range(15)])
    with pytest.raises(EvaluationError) as caught:
        sample_items(prompts, SampleSettings(3, strict_best=True))
    assert str(caught.value).splitlines() == [
        "12 of 15 prompts have too few samples of 3 responses with one best response:",
        *(f"item {k} has 2 candidates and 0 different samples; 1 are wanted" for k in range(3, 13)),
        "... and 2 more",
        "Lower --n or --count, or leave --strict-best out, or leave out the 12 prompts without any sample by "
        "--skip-invalid.",
    ]


def test_a_prompt_whose_best_responses_are_tied_has_no_item_with_one_best(tmp_path):
    (prompt,) = read(tmp_path, [RANKING | {"ranks": [1, 1, 1, 1, 1]}])
    assert has_item(prompt, SampleSettings(2))
    assert not has_item(prompt, SampleSettings(2, strict_best=True))
    assert not has_item(prompt, SampleSettings(6))


def test_no_prompts_are_refused():
    with pytest.raises(EvaluationError, match="There are no prompts"):
        sample_items([], SampleSettings(2))


@pytest.mark.parametrize(("values", "told"), [((1,), "n is 1"), ((2, 0), "count is 0")])
def test_wrong_settings_are_refused(values, told):
    with pytest.raises(EvaluationError, match=told):
        SampleSettings(*values)


def without(row, name):
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize(
    ("rankings", "prompts", "told"),
    [
        ([RANKING], [PROMPT | {"item": "q2"}], "1 of 1 ranked items lack responses:\nitem 'q1' has no row"),
        ([RANKING], [PROMPT | {"responses": {"a": "A", "b": "B"}}], "item 'q1' has no response of 'c', 'd', 'e'"),
        ([RANKING, RANKING], [PROMPT], "line 2: Item 'q1' is there already, in line 1"),
        ([RANKING], [PROMPT, PROMPT], "line 2: Item 'q1' is there already, in line 1"),
        ([RANKING | {"item": None}], [PROMPT], "line 1: The row has no item"),
        ([without(RANKING, "ranks")], [PROMPT], "candidates and ranks are no lists of the same length"),
        ([RANKING | {"ranks": [1, 2]}], [PROMPT], "candidates and ranks are no lists of the same length"),
        ([RANKING | {"ranks": [1, 2, 3, 4, "5"]}], [PROMPT], "give numbers, 1 = best"),
        ([RANKING | {"candidates": list("aabcd")}], [PROMPT], "give different names"),
        ([RANKING], [PROMPT | {"responses": ["A"]}], "responses is missing or no object"),
        ([RANKING], [PROMPT | {"rankings": [1]}], "The row has the field 'rankings', which the sampled items get"),
        ([RANKING], [PROMPT | {"picture": "a.png"}], "The field 'picture' is not read"),
        ([RANKING], [without(PROMPT, "prompt")], "The request has no prompt"),
        ([], [PROMPT], "rankings.jsonl is empty"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, rankings, prompts, told):
    with pytest.raises(EvaluationError) as caught:
        read(tmp_path, rankings, prompts)
    assert told in str(caught.value)
