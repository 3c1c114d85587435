"""``yoj-eval rankings`` and ``yoj-eval items``, from votes to items that the runtime reads."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from yoj.evaluation.cli import main
from yoj.runtime.lines import read_entries

VOTES = [
    {"item": item, "a": better, "b": worse, "winner": "a", "annotator": f"w{k}"}
    for item in ("q1", "q2")
    for k in range(3)
    for better, worse in ("xy", "xz", "yz", "zw")
]


def written(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


def run(*arguments):
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.mark.parametrize("method", ["bt", "pl", "ged"])
def test_votes_become_rankings_and_these_items(tmp_path, method):
    votes = written(tmp_path / "votes.jsonl", VOTES)
    rankings, items = tmp_path / "rankings.jsonl", tmp_path / "items.jsonl"
    found = run("rankings", votes, "--method", method, "--out", rankings, "--resamples", 20)
    assert found.exit_code == 0, found.output
    rows = [json.loads(line) for line in rankings.read_text("utf-8").splitlines()]
    assert [row["item"] for row in rows] == ["q1", "q2"]
    assert [row["candidates"] for row in rows] == [["x", "y", "z", "w"]] * 2
    assert [row["ranks"] for row in rows] == [[1, 2, 3, 4]] * 2
    assert json.loads((tmp_path / "rankings.jsonl.summary.json").read_text("utf-8"))["votes"] == 24
    assert "rankings: 2, of 4 candidates" in found.output

    texts = {name: f"Answer of {name}" for name in "wxyz"}
    responses = written(
        tmp_path / "responses.jsonl", [{"item": q, "prompt": "Which?", "responses": texts} for q in ("q2", "q1")]
    )
    sampled = run("items", rankings, responses, "--n", 3, "--count", 6, "--strict-best", "--out", items)
    assert sampled.exit_code == 0, sampled.output
    assert "6 items of 3 responses to 2 prompts, seed 0" in sampled.output
    entries = read_entries(items)
    assert [sorted(entry.rankings) for entry in entries] == [[1, 2, 3]] * 6
    order = {f"Answer of {name}": place for place, name in enumerate("xyzw")}
    for entry in entries:
        places = [order[text] for text in entry.request.responses]
        assert [sorted(places).index(place) + 1 for place in places] == entry.rankings


def test_all_votes_together(tmp_path):
    votes, out = written(tmp_path / "votes.jsonl", VOTES), tmp_path / "rankings.jsonl"
    found = run("rankings", votes, "--by", "all", "--out", out, "--resamples", 0)
    assert found.exit_code == 0, found.output
    row = json.loads(out.read_text("utf-8"))
    assert (row["item"], row["votes"], row["candidates"]) == (None, 24, ["x", "y", "z", "w"])
    assert found.output.splitlines()[0] == "  bt  candidate    score    pl   ged"


def test_nothing_is_written_over(tmp_path):
    votes, out = written(tmp_path / "votes.jsonl", VOTES), tmp_path / "rankings.jsonl"
    (tmp_path / "rankings.jsonl.summary.json").write_text("mine", "utf-8")
    found = run("rankings", votes, "--out", out)
    assert found.exit_code == 1
    assert "rankings.jsonl.summary.json is there already. Give another name, or remove it." in found.output
    assert not out.exists()


def test_wrong_votes_are_named_and_nothing_is_written(tmp_path):
    votes, out = written(tmp_path / "votes.jsonl", [*VOTES, {"a": "x"}]), tmp_path / "rankings.jsonl"
    found = run("rankings", votes, "--out", out)
    assert found.exit_code == 1
    assert "1 of 25 lines are no votes:\nline 25: The vote has no b and no winner." in found.output
    assert not out.exists()


def test_rankings_of_all_items_together_have_no_prompt(tmp_path):
    row = {"item": None, "candidates": ["x", "y"], "ranks": [1, 2]}
    rankings = written(tmp_path / "rankings.jsonl", [row])
    responses = written(
        tmp_path / "responses.jsonl", [{"item": "q1", "prompt": "?", "responses": {"x": "X", "y": "Y"}}]
    )
    found = run("items", rankings, responses, "--n", 2, "--out", tmp_path / "items.jsonl")
    assert found.exit_code == 1
    assert "line 1: The row has no item, so that prompt and ranking cannot be matched." in found.output


def test_ties_equal_responses_and_other_folders_are_said(tmp_path):
    rankings = written(tmp_path / "rankings.jsonl", [{"item": "q", "candidates": ["x", "y", "z"], "ranks": [1, 1, 3]}])
    texts = {"x": "Yes.", "y": "No.", "z": "Yes."}
    (tmp_path / "data").mkdir()
    prompt = {"item": "q", "prompt": "?", "image": "q.png", "responses": texts}
    responses = written(tmp_path / "data" / "responses.jsonl", [prompt])
    found = run("items", rankings, responses, "--n", 3, "--out", tmp_path / "items.jsonl")
    assert found.output.splitlines()[1:] == [
        "items whose best response is tied: 1",
        "items with equal responses of different ranks: 1; a judge gives them the same score",
        f"paths of media begin at {tmp_path / 'data'}: yoj-score --media-root {tmp_path / 'data'}",
    ]


def test_prompts_of_which_no_item_can_be_made_are_left_out_when_asked(tmp_path):
    names = {"big": list("xyz"), "small": list("xy"), "whole": list("zyx")}
    rows = [{"item": item, "candidates": own, "ranks": [*range(1, len(own) + 1)]} for item, own in names.items()]
    prompts = [{"item": item, "prompt": "?", "responses": {one: one for one in own}} for item, own in names.items()]
    rankings, responses = written(tmp_path / "rankings.jsonl", rows), written(tmp_path / "responses.jsonl", prompts)
    out = tmp_path / "items.jsonl"
    refused = run("items", rankings, responses, "--n", 3, "--out", out)
    assert refused.exit_code == 1
    assert "1 of 3 prompts have too few samples of 3 responses:\nitem 'small' has 2 candidates" in refused.output
    assert "leave out the 1 prompts without any sample by --skip-invalid." in refused.output
    assert not out.exists()

    skipped = run("items", rankings, responses, "--n", 3, "--skip-invalid", "--out", out)
    assert skipped.exit_code == 0, skipped.output
    assert skipped.output.splitlines()[:2] == [
        f"2 items of 3 responses to 2 prompts, seed 0, in {out}",
        "prompts left out, of which no item can be made: 1 of 3: small",
    ]
    assert sorted(json.loads(line)["id"] for line in out.read_text("utf-8").splitlines()) == ["big-0", "whole-0"]

    nothing = run("items", rankings, responses, "--n", 4, "--skip-invalid", "--out", tmp_path / "none.jsonl")
    assert "All 3 prompts would be left out: none has an item of 4." in nothing.output
    too_many = run(
        "items", rankings, responses, "--n", 3, "--count", 4, "--skip-invalid", "--out", tmp_path / "n.jsonl"
    )
    assert "2 of 2 prompts have too few samples of 3 responses:" in too_many.output
