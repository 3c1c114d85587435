"""The reward of ms-swift: rows are grouped by prompt and media, and what cannot be grouped is told."""

from __future__ import annotations

import types

import pytest
from peers import ask, needs
from PIL import Image

from yoj.integrations import GroupReward, RewardSettings
from yoj.integrations.swift import YojReward
from yoj.runtime import Request, RequestError

PROMPT = "<image>Which of these is it?"
RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing.", "A parrot and a lamp."]
EXACT = RewardSettings(spread_floor=0)
ARGS = {"num_generations": 4, "num_generations_eval": 2, "per_device_train_batch_size": 8, "steps_per_generation": 2}


@pytest.fixture
def pictures(tmp_path):
    """Paths of two pictures."""
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{name}.png")
    return [str(tmp_path / "red.png"), str(tmp_path / "blue.png")]


def row(prompt, response, picture, prompt_id="prompt_0"):
    return {"prompt": prompt, "response": response, "images": [picture] if picture else [], "prompt_id": prompt_id}


def called(reward, rows, **others):
    """The call as `score_completions` makes it."""
    messages = [
        [{"role": "user", "content": one["prompt"]}, {"role": "assistant", "content": one["response"]}] for one in rows
    ]
    columns = {
        "messages": messages,
        "prompt_id": [one["prompt_id"] for one in rows],
        "request_id": [f"request {k}" for k in range(len(rows))],
        "images": [one["images"] or None for one in rows],
        "trainer_state": types.SimpleNamespace(global_step=3),
    }
    return reward([one["response"] for one in rows], **columns | others)


def right(judge, picture, responses, row, step=3):
    prompt = [{"role": "user", "content": PROMPT}]
    group = Request(prompt, responses, [picture], placeholders="media", id=f"step {step}: row {row}")
    return list(GroupReward(judge, EXACT).rewards([group])[0].rewards)


def two_pictures(pictures):
    """Two groups of one text: ms-swift gives them the same prompt_id."""
    return [row(PROMPT, response, picture) for picture in pictures for response in RESPONSES]


def test_rows_with_one_text_and_two_pictures_are_two_groups(bundle, pictures):
    judge = bundle("qwen3_vl", "assistant")
    reward = YojReward(judge, EXACT, types.SimpleNamespace(**ARGS))
    expected = right(judge, pictures[0], RESPONSES, 0) + right(judge, pictures[1], RESPONSES, 4)
    assert called(reward, two_pictures(pictures)) == expected
    assert expected[:4] != expected[4:]


def test_a_prompt_that_was_drawn_twice_is_two_groups(bundle, pictures):
    judge = bundle("qwen3_vl", "assistant")
    reward = YojReward(judge, EXACT, types.SimpleNamespace(**ARGS))
    rows = [row(PROMPT, response, pictures[0]) for response in [*RESPONSES, *reversed(RESPONSES)]]
    expected = right(judge, pictures[0], RESPONSES, 0) + right(judge, pictures[0], RESPONSES[::-1], 4)
    assert called(reward, rows) == expected


def test_evaluation_has_groups_of_its_own_size(bundle, pictures):
    judge = bundle("qwen3_vl", "assistant")
    reward = YojReward(judge, EXACT, types.SimpleNamespace(**ARGS))
    rows = [row(PROMPT, response, pictures[0]) for response in RESPONSES[:2]]
    assert called(reward, rows) == right(judge, pictures[0], RESPONSES[:2], 0)


def test_a_group_that_fails_has_no_reward_and_the_others_have(bundle, pictures, caplog):
    judge = bundle("qwen3_vl", "assistant")
    reward = YojReward(judge, EXACT, types.SimpleNamespace(**ARGS))
    rows = two_pictures(["missing.png", pictures[1]])
    assert called(reward, rows) == [None] * 4 + right(judge, pictures[1], RESPONSES, 4)
    assert "group 'step 3: row 0' has no rewards" in caplog.text
    assert "missing.png" in caplog.text


def test_the_means_are_logged(bundle, pictures, caplog):
    caplog.set_level("INFO", "yoj.integrations")
    reward = YojReward(bundle("qwen3_vl", "assistant"), EXACT, types.SimpleNamespace(**ARGS))
    called(reward, two_pictures(pictures))
    assert "2 groups: yoj/mean" in caplog.text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"num_generations": None},
            "The arguments of ms-swift have num_generations None, which is the size",
        ),
        ({"steps_per_generation": 1, "per_device_train_batch_size": 6}, "1 = 6 is no multiple of num_generations 4"),
    ],
)
def test_arguments_that_make_no_groups_are_refused(change, text):
    with pytest.raises(RequestError) as error:
        YojReward("judge.yoj", None, types.SimpleNamespace(**ARGS | change))
    assert text in str(error.value)


def test_rows_that_are_no_whole_groups_are_refused(pictures):
    reward = YojReward("judge.yoj", None, types.SimpleNamespace(**ARGS))
    with pytest.raises(RequestError) as error:
        called(reward, [row(PROMPT, response, pictures[0]) for response in RESPONSES[:3]])
    assert "prompt_0 has 3 responses with the same media in this process" in str(error.value)
    assert "multiples of num_generations" in str(error.value)


def test_parts_of_groups_with_one_text_and_other_pictures_are_not_joined(pictures):
    reward = YojReward("judge.yoj", None, types.SimpleNamespace(num_generations=4))
    with pytest.raises(RequestError) as error:
        called(reward, [row(PROMPT, "A cat.", picture) for picture in [pictures[0]] * 2 + [pictures[1]] * 6])
    assert "prompt_0 has 2 responses with the same media in this process" in str(error.value)


def test_prompts_that_differ_in_a_group_are_refused(pictures):
    reward = YojReward("judge.yoj", None, types.SimpleNamespace(**ARGS))
    rows = [row(PROMPT if k else "<image>What?", response, pictures[0]) for k, response in enumerate(RESPONSES)]
    with pytest.raises(RequestError) as error:
        called(reward, rows)
    assert "The prompts of prompt_0 differ in its group" in str(error.value)


def test_several_videos_and_sounds_are_refused(pictures):
    reward = YojReward("judge.yoj", None, types.SimpleNamespace(**ARGS))
    rows = [row("<video><video>Which?", response, None) for response in RESPONSES]
    with pytest.raises(RequestError) as error:
        called(reward, rows, videos=[["a.mp4", "b.mp4"]] * 4)
    assert "A prompt has 2 videos and 0 audios" in str(error.value)


@pytest.mark.slow
@pytest.mark.thorough
@needs(".venv-verl")
def test_ms_swift_itself_gets_these_rewards(bundle, pictures):
    judge = bundle("qwen3_vl", "assistant")
    rows = two_pictures(["missing.png", pictures[1]])
    found = ask(".venv-verl", "with_swift.py", {"bundle": str(judge), "args": ARGS, "rows": rows, "step": 3})
    expected = right(judge, pictures[1], RESPONSES, 4)
    assert found["rewards"] == [None] * 4 + [pytest.approx(one, rel=1e-6) for one in expected]  # float32 there
    assert found["advantages"] == [0] * 4 + [pytest.approx(one, rel=1e-5, abs=1e-6) for one in expected]
