"""A resources server of NeMo Gym's own kind: rollouts of a task are answered together, over its own routes."""

from __future__ import annotations

import base64
import io

import pytest
from peers import ask, needs
from PIL import Image

from yoj.integrations import GroupReward, RewardSettings
from yoj.runtime import Image as Picture
from yoj.runtime import Message, Request

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.export, needs(".venv-gym")]

PROMPT = "Which of these is it?"
RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing."]
TURNED = RESPONSES[::-1]


def png():
    out = io.BytesIO()
    Image.new("RGB", (40, 40), (200, 30, 30)).save(out, "PNG")
    return out.getvalue()


def rollouts(place, responses, prompt=PROMPT):
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    return [
        {"prompt": prompt, "picture": url, "response": text, "place": place | {"_ng_rollout_index": index}}
        for index, text in enumerate(responses)
    ]


ROUNDS = {
    "named": rollouts({"_ng_group_id": "a", "_ng_group_attempt": 1}, RESPONSES)[::-1],
    "task": rollouts({"_ng_task_index": 3}, RESPONSES),
    "the same again": rollouts({"_ng_task_index": 3}, RESPONSES),
    "a later step": rollouts({"_ng_task_index": 3}, TURNED),
    "one is lost": rollouts({"_ng_task_index": 4}, RESPONSES[:2]),
    "after the loss": rollouts({"_ng_task_index": 4}, TURNED),
    "judge fails": rollouts({"_ng_task_index": 5}, RESPONSES, "Which <image>?"),
    "another prompt": [
        *rollouts({"_ng_group_id": "b"}, RESPONSES[:1]),
        *rollouts({"_ng_group_id": "b"}, RESPONSES, "What?")[1:2],
    ],
    "no group": rollouts({}, RESPONSES[:1]),
    "one too many": rollouts({"_ng_task_index": 6}, [*RESPONSES, "One more."])[3:],
}


@pytest.fixture(scope="module")
def judge(bundle):
    return bundle("qwen3_vl", "assistant")


@pytest.fixture(scope="module")
def answers(judge):
    found = ask(".venv-gym", "with_nemo_gym.py", {"bundle": str(judge), "size": 3, "rounds": list(ROUNDS.values())})
    return dict(zip(ROUNDS, found, strict=True))


def right(judge, responses, key):
    prompt = [Message("user", [Picture(png()), PROMPT])]
    return GroupReward(judge, RewardSettings(spread_floor=0)).rewards([Request(prompt, responses, id=key)])[0]


@pytest.mark.parametrize(
    ("name", "responses", "key"),
    [
        ("named", RESPONSES, "group a, attempt 1, run 0"),
        ("task", RESPONSES, "task 3, run 0"),
        ("the same again", RESPONSES, "task 3, run 0"),
        ("a later step", TURNED, "task 3, run 1"),
        ("after the loss", TURNED, "task 4, run 1"),
    ],
)
def test_rollouts_have_the_rewards_of_their_group(name, responses, key, judge, answers):
    expected = right(judge, responses, key)
    places = [one["place"]["_ng_rollout_index"] for one in ROUNDS[name]]
    assert [status for status, _ in answers[name]] == [200] * 3
    assert [body["reward"] for _, body in answers[name]] == [expected.rewards[place] for place in places]
    assert [body["yoj_score"] for _, body in answers[name]] == [expected.scores[place] for place in places]
    assert {body["yoj_mean"] for _, body in answers[name]} == {expected.mean}
    assert not any(body["mask_sample"] for _, body in answers[name])


def test_the_place_in_the_group_is_given_back(answers):
    coordinates = ("_ng_group_id", "_ng_group_attempt", "_ng_rollout_index")
    assert [[body[name] for name in coordinates] for _, body in answers["named"]] == [["a", 1, k] for k in (2, 1, 0)]


def test_rollouts_of_a_group_that_is_never_whole_are_unavailable(answers):
    for status, body in answers["one is lost"]:
        assert status == 503
        assert "Group 'task 4, run 0' had 2 of its 3 samples after 2 s: 0, 1." in body["detail"]


def test_rollouts_that_the_judge_fails_for_are_masked_with_the_reason(answers):
    for status, body in answers["judge fails"]:
        assert (status, body["mask_sample"], body["failure_kind"]) == (200, True, "judge_failed")
        assert (
            "The judge failed for group 'task 5, run 0' of 3 samples: The prompt holds <image>"
            in (body["failure_reason"])
        )


def test_rollouts_that_contradict_their_group_are_refused(answers):
    for status, body in answers["another prompt"]:
        assert status == 409
        assert "has another prompt or other media than sample" in body["detail"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no group", "The rollout names no group; give _ng_group_id, _ng_task_index or prompt_id."),
        ("one too many", "_ng_rollout_index is 3; give 0 to 2."),
    ],
)
def test_rollouts_without_a_place_are_refused(name, text, answers):
    assert [(status, body["detail"]) for status, body in answers[name]] == [(422, text)]
