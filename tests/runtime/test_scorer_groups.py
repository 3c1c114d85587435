"""More responses than a model was trained on: said, read in groups, or knocked out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from test_scorer_isolated import altered

from yoj.runtime import Image, Request, RequestError, Scorer, knockout
from yoj.runtime.cli import main
from yoj.runtime.packs import draw_groups, join, rounds_within

IMAGES = Path(__file__).parents[1] / "golden" / "data" / "images"
RESPONSES = [f"There are {k} red balls." for k in range(11)]
SAME = 2e-5
"""Rows of a batch are summed in another order than single rows, and joined."""


@pytest.fixture(scope="module")
def judge(bundle, tmp_path_factory) -> Scorer:
    """A scorer of a bundle whose model was trained on 2 to 4 responses."""
    path = tmp_path_factory.mktemp("groups") / "b.yoj"
    return Scorer.load(altered(bundle("merged", "assistant"), path, trained_n=(2, 4)))


def test_scores_are_those_of_the_packs_joined(judge):
    found = judge.score("How many?", RESPONSES, images=[IMAGES / "odd_small.png"], method="groups")
    packs = draw_groups(11, 4, None)
    alone = [
        judge.score("How many?", [RESPONSES[k] for k in pack], images=[IMAGES / "odd_small.png"]).scores
        for pack in packs
    ]
    joined = join(11, packs, alone)
    np.testing.assert_allclose(found.scores, joined.scores_N, atol=SAME)
    assert found.order_spread is not None
    np.testing.assert_allclose(found.order_spread, joined.spread_N, atol=SAME)
    assert (found.method, found.passes, found.orders) == ("groups", 12, 1)
    assert max(map(len, packs)) == 4
    assert "12 packs of some, joined" in str(found)


def test_each_medium_of_a_request_goes_through_the_tower_once(judge, monkeypatch):
    runs: list[str] = []
    real = judge._session.run
    monkeypatch.setattr(judge._session, "run", lambda role, inputs: runs.append(role) or real(role, inputs))
    judge.score("How many?", RESPONSES, images=[np.full((37, 51, 3), 9, np.uint8)], method="groups")
    assert runs == ["vision", "scorer.joint"]


def test_media_in_responses_stay_with_them(judge):
    """Packs hold some of the media of a request, under the same numbers as in a request of their own."""
    noise = [np.random.default_rng(k).integers(0, 256, (30 + k, 40, 3), np.uint8) for k in range(6)]
    responses = [[Image(picture), f"picture {k}"] for k, picture in enumerate(noise)]
    request = Request(["Which is best? ", Image(noise[0][::-1])], responses)
    (found,) = judge.score_batch([_groups(request)])
    packs = draw_groups(6, 4, None)
    alone = [judge.score_batch([Request(request.prompt, [responses[k] for k in pack])])[0].scores for pack in packs]
    np.testing.assert_allclose(found.scores, join(6, packs, alone).scores_N, atol=SAME)


def _groups(request: Request, **changes) -> Request:
    return replace(request, method="groups", **changes)


def test_up_to_the_trained_number_groups_are_one_pack(judge):
    for responses in (RESPONSES[:4], [*RESPONSES[:3], *RESPONSES[:3]]):
        plain, groups = (judge.score("How many?", responses, method=method) for method in (None, "groups"))
        assert groups.scores == plain.scores
        assert (groups.method, groups.passes) == ("pack", 1)


def test_equal_responses_share_a_score_in_groups_too(judge):
    found = judge.score("How many?", [*RESPONSES, RESPONSES[3]], method="groups")
    assert found.scores[11] == found.scores[3]
    np.testing.assert_allclose(
        found.scores[:11], judge.score("How many?", RESPONSES, method="groups").scores, atol=SAME
    )


def test_isolated_reading_needs_no_groups(judge):
    plain, groups = (judge.score("How many?", RESPONSES, mode="isolated", method=m) for m in (None, "groups"))
    assert groups.scores == plain.scores
    assert groups.method == "pack"
    assert "method='groups' changes nothing" in groups.notices[0]


def test_a_model_of_single_responses_needs_no_numbers_for_groups(bundle, tmp_path):
    path = altered(bundle("merged", "assistant"), tmp_path / "b.yoj", trained_mode="isolated")
    found = Scorer.load(path).score("How many?", RESPONSES, method="groups")
    assert found.method == "pack"
    assert "method='groups' changes nothing" in found.notices[0]


def test_groups_of_a_batch_are_those_of_single_requests(judge):
    requests = [_groups(Request("How many?", RESPONSES)), Request("Why?", RESPONSES[:3]),
                _groups(Request("Where?", RESPONSES[:7]), passes=6)]  # fmt: skip
    together = judge.score_batch(requests)
    for request, found in zip(requests, together, strict=True):
        np.testing.assert_allclose(found.scores, judge.score_batch([request])[0].scores, atol=SAME)
    assert [found.passes for found in together] == [12, 1, 6]


def test_a_budget_of_passes_is_kept():
    assert rounds_within(11, 4, None) == 4
    assert rounds_within(11, 4, 8) == 2  # three packs a round
    assert len(draw_groups(11, 4, 8)) == 6
    for passes in (5, 0, -1, True, 2.5):
        with pytest.raises(RequestError, match="give a number from 6"):
            rounds_within(11, 4, passes)


def test_a_judgement_outside_the_trained_numbers_says_so(judge):
    assert judge.score("How many?", RESPONSES[:4]).notices == ()
    assert judge.score("How many?", RESPONSES, method="groups").notices == ()
    (many,) = judge.score("How many?", RESPONSES).notices
    assert many.startswith("read N=11 responses together; the model was trained on N=2 to 4")
    assert "method='groups'" in many
    (one,) = judge.score("How many?", RESPONSES[:1]).notices
    assert one == "read N=1 responses together; the model was trained on N=2 to 4"
    assert judge.score("How many?", RESPONSES, mode="isolated").notices == ()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "all"}, "give 'pack' or 'groups'"),
        ({"method": "groups", "orders": 2}, "Leave orders at 1"),
        ({"passes": 9}, "is for method='groups'"),
        ({"method": "groups", "passes": 3}, "give a number from 6"),
    ],
)
def test_methods_that_there_are_not(settings, words, judge):
    with pytest.raises(RequestError, match=words):
        judge.score("How many?", RESPONSES, **settings)


def test_a_bundle_that_does_not_say_on_how_many_it_was_trained(scorer):
    with pytest.raises(RequestError, match="Export it again with --trained-n"):
        scorer("merged", "assistant").score("How many?", RESPONSES, method="groups")
    with pytest.raises(RequestError, match="Export it again with --trained-n"):
        knockout(scorer("merged", "assistant"), Request("How many?", RESPONSES))


@pytest.fixture(scope="module")
def path(judge) -> Path:
    return judge._source.path


def scored(path: Path, *options: object) -> Result:
    return CliRunner().invoke(main, [str(path), *map(str, options)])


@pytest.mark.parametrize("method", ["pack", "groups"])
def test_the_command_reads_files_by_a_method(method, path, judge, tmp_path):
    lines = [{"prompt": "How many?", "responses": RESPONSES}, {"prompt": "Why?", "responses": RESPONSES[:3]},
             {"prompt": "How many?", "responses": RESPONSES, "method": "pack"}]  # fmt: skip
    requests, out = tmp_path / "r.jsonl", tmp_path / "s.jsonl"
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
    passes = ["--passes", 7] if method == "groups" else []
    assert scored(path, requests, "--out", out, "--n-method", method, *passes).exit_code == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [one["method"] for one in found] == [method, "pack", "pack"]
    assert [one["passes"] for one in found] == [6 if method == "groups" else 1, 1, 1]
    asked = {"method": "groups", "passes": 7} if method == "groups" else {}
    np.testing.assert_allclose(found[0]["scores"], judge.score("How many?", RESPONSES, **asked).scores, atol=SAME)
    # What was scored by another method is not gone on with.
    again = scored(path, requests, "--out", out, "--n-method", "knockout")
    assert again.exit_code == 1
    assert "another mode, method" in again.stderr


def test_the_command_looks_for_the_best_alone(path, judge, tmp_path):
    requests, out = tmp_path / "r.jsonl", tmp_path / "s.jsonl"
    ranks = [2] * 11
    ranks[knockout(judge, Request("How many?", RESPONSES)).best] = 1
    bad = {"prompt": "How many?", "responses": RESPONSES, "method": "groups"}
    lines = [{"prompt": "How many?", "responses": RESPONSES, "rankings": ranks, "id": "q"}, bad]
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = scored(path, requests, "--out", out, "--n-method", "knockout")
    assert done.exit_code == 1
    first, second = (json.loads(line) for line in out.read_text().splitlines())
    assert (first["id"], first["best"], first["passes"]) == ("q", ranks.index(1), 4)
    assert "scores" not in first
    assert "leave method, passes and orders out" in second["error"]["message"]
    assert "right in 100.0% of 1" in done.stderr
    words = [part for text in RESPONSES for part in ("--response", text)]
    one = scored(path, "--prompt", "How many?", *words, "--n-method", "knockout")
    assert f"best: response {first['best']}, after 4 packs: {RESPONSES[first['best']]}" in one.output
    told = scored(path, "--prompt", "How many?", *words, "--n-method", "knockout", "--json")
    assert json.loads(told.output)["won"] == first["won"]


@pytest.mark.parametrize("options", [["--passes", "4"], ["--n-method", "knockout", "--orders", "2"]])
def test_options_of_another_method(options, path):
    done = scored(path, "--prompt", "a", "--response", "b", *options)
    assert done.exit_code == 2


def test_a_knockout_finds_who_wins_every_pack(judge):
    found = knockout(judge, Request("How many?", RESPONSES, id="q"))
    assert sum(found.won) == found.passes == 4  # three packs of at most 4, and the final
    assert found.won[found.best] == 2
    assert found.id == "q"
    semi_finals = [k for k, count in enumerate(found.won) if count]
    assert len(semi_finals) == 3
    few = knockout(judge, Request("How many?", RESPONSES[:3]))
    assert (few.passes, few.won.index(1)) == (1, few.best)


def test_equal_responses_are_one_in_a_knockout(judge):
    found = knockout(judge, Request("How many?", RESPONSES))
    twice = knockout(judge, Request("How many?", [*RESPONSES, *RESPONSES]))
    assert (twice.best, twice.passes) == (found.best, found.passes)
    assert twice.won == found.won * 2
    assert twice.duplicates == (*range(11), *range(11))
    same = judge.score("How many?", ["a", "a"])
    assert same.notices == ("all responses are equal, so that one was read and there is nothing to compare",)


def test_a_knockout_of_pictures(judge):
    noise = [np.random.default_rng(k).integers(0, 256, (30 + k, 40, 3), np.uint8) for k in range(5)]
    responses = [[Image(picture), f"picture {k}"] for k, picture in enumerate(noise)]
    found = knockout(judge, Request("Which is best?", [*responses, responses[2]]))
    assert found.duplicates == (0, 1, 2, 3, 4, 2)


@pytest.mark.parametrize("fields", [{"method": "groups"}, {"passes": 9}, {"orders": 2}])
def test_a_knockout_is_asked_for_nothing_else(fields, judge):
    with pytest.raises(RequestError, match="leave method, passes and orders out"):
        knockout(judge, Request("How many?", RESPONSES, **fields))
