"""Rewards for Flow-Factory, against its recorded contract, tests/data/contracts/flow_factory.json."""

from __future__ import annotations

import importlib
import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from yoj.integrations import GroupReward, RewardSettings
from yoj.runtime import Image as Picture
from yoj.runtime import LimitError, Request, RequestError

CONTRACT = json.loads((Path(__file__).parents[1] / "data" / "contracts" / "flow_factory.json").read_text())
ASK = "Make it red."
SOURCES = [Image.radial_gradient("L").resize((56, 56)).convert("RGB"), Image.new("RGB", (56, 56), "green")]
EDITS = [Image.new("RGB", (56, 56), colour) for colour in ("red", "blue", "yellow")]

pytestmark = pytest.mark.export


@dataclass
class Output:
    """What a reward of Flow-Factory returns."""

    rewards: Any
    extra_info: dict | None = None


class Base:
    """What a reward of Flow-Factory is derived from."""

    required_fields = ()

    def __init__(self, config, accelerator):
        self.config, self.accelerator = config, accelerator


@pytest.fixture(scope="module")
def module():
    """The adapter, with what it takes from Flow-Factory."""
    name = CONTRACT["module"]
    with pytest.MonkeyPatch.context() as patch:
        for one in ("flow_factory", name):
            patch.setitem(sys.modules, one, types.ModuleType(one))
        vars(sys.modules[name]).update(GroupwiseRewardModel=Base, RewardModelOutput=Output)
        yield importlib.import_module("yoj.integrations.flow_factory")
        sys.modules.pop("yoj.integrations.flow_factory")


@pytest.fixture
def judge(bundle) -> str:
    return str(bundle("qwen3_vl", "assistant"))


def config(**extra) -> types.SimpleNamespace:
    return types.SimpleNamespace(**CONTRACT["config"] | {"name": "yoj", "extra_kwargs": extra})


def right(judge: str, sources, **settings) -> list[float]:
    request = Request(ASK, [Picture(edit) for edit in EDITS], sources)
    (answer,) = GroupReward(judge, RewardSettings(**settings)).rewards([request])
    return list(answer.rewards)


def test_edits_are_rewarded_with_what_was_edited(module, judge):
    model = module.GroupwiseEditReward(config(judge=judge, spread_floor=0, orders=2), None)
    assert model.required_fields == tuple(CONTRACT["fields"])
    found = model(prompt=[ASK] * 3, image=EDITS, condition_images=[SOURCES] * 3).rewards
    assert found == right(judge, SOURCES, spread_floor=0, orders=2)
    assert len(set(found)) == 3
    assert np.mean(found) == pytest.approx(0, abs=1e-6)


def test_generators_have_no_source(module, judge):
    model = module.GroupwiseImageReward(config(judge=judge, spread_floor=0), None)
    assert model(prompt=[ASK] * 3, image=EDITS).rewards == right(judge, (), spread_floor=0)
    assert not model.use_tensor_inputs


def test_a_group_that_fails_stops_training(module, judge):
    model = module.GroupwiseImageReward(config(judge=judge), None)
    with pytest.raises(LimitError, match=r"characters|tokens"):
        model(prompt=["word " * 50_000] * 3, image=EDITS)


def test_what_is_no_group_of_images_is_refused(module, judge):
    model = module.GroupwiseEditReward(config(judge=judge), None)
    with pytest.raises(RequestError, match="without images"):
        model(prompt=[ASK] * 3, condition_images=[SOURCES] * 3)
    with pytest.raises(RequestError, match=r"one group with 2 prompts: \['Make it blue.', 'Make it red.'\]"):
        model(prompt=[ASK, ASK, "Make it blue."], image=EDITS, condition_images=[SOURCES] * 3)
    for nothing in (None, [[], [], []]):
        with pytest.raises(RequestError, match="without condition_images"):
            model(prompt=[ASK] * 3, image=EDITS, condition_images=nothing)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "judge of the reward 'yoj' is None; write judge: judge.yoj"),
        ({"judge": "judge.yoj", "order": 2}, "the reward 'yoj' has order, which nothing reads; give reward, orders"),
        ({"judge": "judge.yoj", "orders": 0}, "orders is 0; give a whole number from 1"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(module, extra, message):
    with pytest.raises(RequestError, match=message):
        module.GroupwiseImageReward(config(**extra), None)
