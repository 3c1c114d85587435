"""verl's own reward loop, on a local Ray, gets for each trajectory what the scorer gives its group."""

from __future__ import annotations

import pytest
from peers import TOKENIZER, ask, needs
from PIL import Image

from yoj.integrations import GroupReward, RewardSettings
from yoj.runtime import Image as Picture
from yoj.runtime import Message, Request

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.export, needs(".venv-verl")]

RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing.", "A parrot and a lamp."]
PROMPT = "Which of these is it?"


def group(uid, responses, picture, split="train", prompt=PROMPT):
    return {"uid": uid, "responses": responses, "picture": picture, "split": split, "prompt": prompt}


@pytest.fixture(scope="module")
def case(bundle, tmp_path_factory):
    """What verl is asked, and the judge."""
    folder = tmp_path_factory.mktemp("verl")
    paths = [str(folder / f"{k}.png") for k in range(2)]
    for k, path in enumerate(paths):
        Image.new("RGB", (40, 40), (200 * k, 30, 30)).save(path)
    turned = [RESPONSES[k:] + RESPONSES[:k] for k in range(4)]
    # 20 rows for 3 workers: verl repeats the first one, which comes when its group is over or still waits.
    batch = [group(f"batch {k}", turned[k % 4], paths[k % 2]) for k in range(5)]
    streamed = [
        group("streamed 0", RESPONSES, paths[0]),
        group("streamed 1", RESPONSES, paths[1]),
        group("validation", RESPONSES[:2], paths[0], "test"),
        group("failing", RESPONSES, paths[0], prompt="Which <image>?"),
        group("no split", RESPONSES[:1], paths[0], None),
    ]
    judge = bundle("qwen3_vl", "assistant")
    return judge, {"bundle": str(judge), "tokenizer": str(TOKENIZER), "batch": batch, "streamed": streamed}


@pytest.fixture(scope="module")
def answer(case):
    return ask(".venv-verl", "with_verl.py", case[1])


def right(judge, group):
    prompt = [Message("user", [Picture(group["picture"]), group["prompt"]])]
    (found,) = GroupReward(judge, RewardSettings(spread_floor=0)).rewards(
        [Request(prompt, group["responses"], id=group["uid"])]
    )
    return found


def test_a_batch_of_which_verl_repeats_rows(case, answer):
    judge, asked = case
    found = [right(judge, one) for one in asked["batch"]]
    rewards = [reward for one in found for reward in one.rewards]
    assert answer["batch"] == [pytest.approx(reward, rel=1e-6) for reward in rewards]  # verl's are float32
    assert set(answer["places"]) == {1}  # on one token of each response
    assert answer["extra"]["yoj/score"] == [score for one in found for score in one.scores]
    assert answer["extra"]["yoj/mean"] == [one.mean for one in found for _ in one.scores]


def test_trajectories_one_by_one_in_training_and_validation(case, answer):
    judge, asked = case
    for one, rows in list(zip(asked["streamed"], answer["streamed"], strict=True))[:3]:
        assert [row["reward"] for row in rows] == list(right(judge, one).rewards), one["uid"]


def test_a_group_that_fails_raises_in_all_its_trajectories(answer):
    *_, failing, unknown = answer["streamed"]
    assert len(failing) == 4
    for row in failing:
        assert "The judge failed for group 'failing' of 4 samples: The prompt holds <image>" in row["error"]
    assert (
        "rollout.n is 4 and rollout.val_kwargs.n 2, and verl does not say of which a sample is" in unknown[0]["error"]
    )
