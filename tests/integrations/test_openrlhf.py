"""OpenRLHF's own executor: samples of a prompt are rewarded in their group, whatever comes first."""

from __future__ import annotations

import pytest
from peers import TOKENIZER, ask, needs
from PIL import Image

from yoj.integrations import GroupReward, RewardSettings
from yoj.runtime import Request

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.export, needs(".venv-verl")]

RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing.", "A parrot and a lamp."]
PROMPT = "Which of these is it?"
EXECUTOR = """
from yoj.integrations import RewardSettings
from yoj.integrations.openrlhf import GroupExecutor

class AgentExecutor(GroupExecutor):
    judge = {judge!r}
    settings = RewardSettings(spread_floor=0)
"""


@pytest.fixture(scope="module")
def case(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("openrlhf")
    judge, picture = bundle("qwen3_vl", "assistant"), str(folder / "a.png")
    Image.new("RGB", (40, 40), (200, 30, 30)).save(picture)
    (folder / "executor.py").write_text(EXECUTOR.format(judge=str(judge)))
    whole = {"prompt": PROMPT, "picture": picture, "responses": RESPONSES, "template": True}
    groups = [
        whole,
        whole,  # a prompt that is drawn twice is two groups, though it is the same object here
        whole | {"template": False, "responses": RESPONSES[:3]},
        whole | {"picture": "missing.jpg"},
        whole | {"prompt": PROMPT + "<|im_end|>"},
    ]
    return picture, judge, {"tokenizer": str(TOKENIZER), "executor": str(folder / "executor.py"), "groups": groups}


@pytest.fixture(scope="module")
def answer(case):
    return ask(".venv-verl", "with_openrlhf.py", case[2])


def test_each_sample_has_the_reward_of_its_group(case, answer):
    picture, judge, asked = case
    for number, (group, found) in enumerate(zip(asked["groups"][:3], answer[:3], strict=True)):
        (right,) = GroupReward(judge, RewardSettings(spread_floor=0)).rewards(
            [Request(PROMPT, group["responses"], [picture], id=f"prompt {number}")]
        )
        assert [one["reward"] for one in found] == list(right.rewards)
        assert [one["scores"] for one in found] == list(right.scores)
        assert {one["extra_logs"]["yoj/mean"] for one in found} == {right.mean}


def test_a_prompt_that_cannot_be_read_stops_with_the_reason(answer):
    *_, missing, template = answer
    assert missing == {"error": "1 of the 1 images of a prompt could not be loaded."}
    assert "is no single user turn in the policy's chat template" in template["error"]
    assert "Override `question` of the executor" in template["error"]
