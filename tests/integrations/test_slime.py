"""The reward of slime, against its recorded contract: tests/data/contracts/slime.json says what was read where."""

from __future__ import annotations

import asyncio
import enum
import json
import sys
import types
from pathlib import Path

import pytest
from peers import TOKENIZER
from PIL import Image

from yoj.integrations import GroupReward, RewardSettings
from yoj.integrations.slime import reward
from yoj.runtime import Request, RequestError

CONTRACT = json.loads((Path(__file__).parents[1] / "data" / "contracts" / "slime.json").read_text())
Status = enum.Enum("Status", {name.upper(): name for name in CONTRACT["status"]})
RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing."]
PROMPT = "Which of these is it?"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _slime():
    """What the reward takes from slime."""
    from transformers import AutoTokenizer

    def load_processor(name_or_path, **kwargs):
        assert kwargs == {"trust_remote_code": True}

    def load_tokenizer(name_or_path, **kwargs):
        return AutoTokenizer.from_pretrained(name_or_path, **kwargs)

    utils = types.SimpleNamespace(load_processor=load_processor, load_tokenizer=load_tokenizer)
    names = ("slime", "slime.utils", "slime.utils.processing_utils")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setitem(sys.modules, name, types.ModuleType(name))
        vars(sys.modules[names[-1]]).update(vars(utils))
        yield


@pytest.fixture(scope="module")
def templated():
    """Prompt as slime renders it, with one picture."""
    from transformers import AutoTokenizer

    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}
    return AutoTokenizer.from_pretrained(TOKENIZER).apply_chat_template(
        [turn], tokenize=False, add_generation_prompt=True
    )


@pytest.fixture
def args(bundle):
    judge = str(bundle("qwen3_vl", "assistant"))
    return types.SimpleNamespace(hf_checkpoint=str(TOKENIZER), yoj_judge=judge, yoj_settings={"spread_floor": 0})


def sample(**fields):
    known = CONTRACT["sample"] | fields
    assert known.keys() == CONTRACT["sample"].keys()
    return types.SimpleNamespace(**known | {"status": Status(known["status"])})


def group(prompt=PROMPT, **fields):
    return [
        sample(index=20 + k, response=text, **{"group_index": 5, "prompt": prompt, "status": "completed"} | fields)
        for k, text in enumerate(RESPONSES)
    ]


def rewards(args, samples):
    return asyncio.run(reward(args, samples))


def right(args, images):
    found = GroupReward(args.yoj_judge, RewardSettings(spread_floor=0)).rewards(
        [Request(PROMPT, RESPONSES, images, id="group 5")]
    )
    return list(found[0].rewards)


def test_a_rendered_prompt_with_a_picture_and_ends_of_turns(args, templated):
    picture = Image.new("RGB", (40, 40), (200, 30, 30))
    samples = group(templated, multimodal_inputs={"images": [picture], "videos": None})
    for one in samples:
        one.response += "<|im_end|>"
    assert rewards(args, samples) == right(args, [picture])


def test_messages_with_their_pictures(args, tmp_path):
    Image.new("RGB", (40, 40), (200, 30, 30)).save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    content = [{"type": "image", "image": path}, {"type": "text", "text": PROMPT}]
    samples = group([{"role": "user", "content": content}], multimodal_inputs={"images": ["not read"], "videos": None})
    assert rewards(args, samples) == right(args, [path])


def test_plain_texts(args):
    assert rewards(args, group()) == right(args, [])


def test_a_group_that_fails_raises_the_reason(args):
    with pytest.raises(RequestError) as error:
        rewards(args, group("Which <image>?"))
    assert "The prompt holds <image>" in str(error.value)


@pytest.mark.parametrize(
    "samples", [sample(), [], [[sample()], [sample()]]], ids=["one sample", "none", "a rollout that was split"]
)
def test_what_is_no_group_is_refused(samples, args):
    with pytest.raises(RequestError) as error:
        rewards(args, samples)
    assert "for a group of samples. Give --group-rm;" in str(error.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"prompt": "What?"}, "Sample 22 of group 5 has another prompt or group than sample 20 of group 5"),
        ({"group_index": 6}, "Sample 22 of group 6 has another prompt or group than sample 20 of group 5"),
        ({"status": Status.ABORTED}, "Sample 22 of group 5 is aborted."),
    ],
)
def test_samples_that_are_no_group_are_refused(change, text, args):
    samples = group()
    vars(samples[-1]).update(change)
    with pytest.raises(RequestError) as error:
        rewards(args, samples)
    assert text in str(error.value)


def test_videos_are_refused(args):
    with pytest.raises(RequestError) as error:
        rewards(args, group(multimodal_inputs={"images": None, "videos": [object()]}))
    assert "A prompt has videos; of media images alone are read here." in str(error.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"yoj_judge": None}, "yoj_judge is None; write yoj_judge: judge.yoj into the file of --custom-config-path."),
        ({"yoj_settings": {"order": 2}}, "yoj_settings has order, which nothing reads; give reward, orders, seed,"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_refused(change, text, args):
    with pytest.raises(RequestError) as error:
        rewards(types.SimpleNamespace(**vars(args) | change), group())
    assert text in str(error.value)
