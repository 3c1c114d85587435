"""Heads of single-response reward models: found where trainers leave them, or refused in one line that helps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint._single_heads import Search, find_head
from yoj.export.checkpoint._trained_layouts import LAYOUTS, bare_name
from yoj.export.checkpoint.head import TrainedHead
from yoj.export.checkpoint.weights import read_folder

D = 8
SCORE, BIAS = torch.arange(D).float().view(1, D), torch.tensor([0.5])
NORMALISED = {"normalize_reward": True, "mean": 1.5, "std": 2.0}


def write(folder: Path, tensors: Mapping[str, torch.Tensor], **config: Any) -> Path:
    """A merged checkpoint of one backbone tensor and these."""
    folder.mkdir(exist_ok=True)
    stored = {"model.embed_tokens.weight": torch.zeros(3, D)} | {name: value.clone() for name, value in tensors.items()}
    save_file(stored, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def found(folder: Path, adapters: tuple[Path, ...] = ()) -> TrainedHead:
    config = json.loads((folder / "config.json").read_text())
    weights = tuple(adapter for adapter in adapters if any(adapter.glob("adapter_model.*")))
    return find_head(Search(adapters or (folder,), folder, config, read_folder(folder), D, weights))


def refusal(folder: Path, adapters: tuple[Path, ...] = ()) -> str:
    with pytest.raises(CheckpointError) as error:
        found(folder, adapters)
    return str(error.value)


@pytest.mark.parametrize(
    ("tensors", "config", "layout"),
    [
        ({"score.weight": SCORE}, {}, "sequence_classification"),
        ({"score.weight": SCORE}, {"architectures": ["Qwen3VLForSequenceClassification"]}, "sequence_classification"),
        ({"score.weight": SCORE}, {"architectures": ["Qwen3VLForTokenClassification"]}, "token_classification"),
        ({"score.weight": SCORE, "score.bias": BIAS}, {}, "token_classification"),
        ({"score.weight": SCORE}, {"architectures": ["RewardModel"]}, "openrlhf"),
        ({"score.weight": SCORE}, {"normalize_reward": False}, "openrlhf"),
        ({"value_head.weight": SCORE}, {}, "openrlhf"),
        ({"rm.weight": SCORE}, {"value_head_prefix": "rm"}, "openrlhf"),
        ({"v_head.summary.weight": SCORE, "v_head.summary.bias": BIAS}, {}, "value_head"),
        ({"_orig_mod.score.weight": SCORE}, {}, "sequence_classification"),
        ({"module.v_head.summary.weight": SCORE, "module.v_head.summary.bias": BIAS}, {}, "value_head"),
    ],
)
def test_a_head_in_the_shards(tensors, config, layout, tmp_path):
    head = found(write(tmp_path, tensors, **config))
    bias = BIAS if any(name.endswith("bias") for name in tensors) else torch.zeros(1)
    assert (head.layout.name, head.divisor(D), head.type, head.readout) == (layout, 1.0, "linear", "last")
    assert torch.equal(head.tensors["weight"], SCORE)
    assert torch.equal(head.tensors["bias"], bias)


def test_rewards_are_normalised_where_the_config_says_so(tmp_path):
    states = torch.randn(5, D)
    plain = states @ SCORE.T
    for config, expected in (
        (NORMALISED, (plain - 1.5) / 2.0),
        (NORMALISED | {"normalize_reward": False}, plain),
        ({"architectures": ["RewardModel"], "mean": 1.5, "std": 2.0}, (plain - 1.5) / 2.0),
        ({"normalize_reward": True}, plain),
        ({"mean": 1.5, "std": 2.0}, (plain - 1.5) / 2.0),
    ):
        head = found(write(tmp_path, {"score.weight": SCORE}, **config))
        torch.testing.assert_close(head.module()(states) / head.divisor(D), expected, rtol=0, atol=1e-5)
        told = " ".join(head.notes)
        assert ("mean 1.5" in told or "(r - 1.5) / 2" in told) == ("mean" in config)
        assert ("taken for true" in told) == ("mean" in config and "normalize_reward" not in config)


@pytest.mark.parametrize("change", [{"std": 0}, {"std": -1.0}, {"mean": None}, {"mean": [1.5]}, {"std": "2"}])
def test_a_normalisation_that_is_none_is_refused(change, tmp_path):
    told = refusal(write(tmp_path, {"score.weight": SCORE}, **NORMALISED | change))
    ((field, value),) = change.items()
    assert "config.json" in told
    assert f"{field} is {value!r}" in told


def test_an_adapter_comes_before_its_base_and_a_later_one_before_an_earlier(tmp_path):
    base = write(tmp_path / "base", {"score.weight": SCORE})
    adapters = (tmp_path / "one", tmp_path / "two", tmp_path / "three")
    for number, folder in enumerate(adapters):
        folder.mkdir()
        key = "base_model.model.score.weight" if number < 2 else "base_model.model.model.x.lora_A.weight"
        save_file({key: SCORE + number + 1}, folder / "adapter_model.safetensors")
    assert torch.equal(found(base, adapters).tensors["weight"], SCORE + 2)
    assert torch.equal(found(base, adapters[2:]).tensors["weight"], SCORE)
    (adapters[2] / "config.json").write_text(json.dumps(NORMALISED))
    assert found(base, adapters).layout.name == "openrlhf"


def test_an_adapter_that_is_a_pickle(tmp_path):
    base, adapter = write(tmp_path / "base", {}), tmp_path / "adapter"
    adapter.mkdir()
    torch.save({"base_model.model.score.weight": SCORE, "x.lora_A.weight": SCORE}, adapter / "adapter_model.bin")
    assert torch.equal(found(base, (adapter,)).tensors["weight"], SCORE)


@pytest.mark.parametrize("name", ["value_head.safetensors", "value_head.pt", "value_head.bin"])
def test_a_head_in_a_file_beside_an_adapter(name, tmp_path):
    base, adapter = write(tmp_path / "base", {}), tmp_path / "adapter"
    adapter.mkdir()
    tensors = {"v_head.summary.weight": SCORE, "v_head.summary.bias": BIAS}
    (save_file if name.endswith("safetensors") else torch.save)(tensors, adapter / name)
    head = found(base, (adapter,))
    assert head.layout.name == "value_head"
    assert torch.equal(head.tensors["bias"], BIAS)


@pytest.mark.parametrize(
    ("tensors", "config", "told"),
    [
        ({}, {}, ("no head", "score.weight", "v_head.summary.weight", "reward_model_config.json")),
        ({"rm_head.weight": SCORE}, {}, ("rm_head.weight has the shape of one", "value_head_prefix")),
        ({"score.weight": SCORE}, {"architectures": ["CriticModel"]}, ("CriticModel", "reward model")),
        ({"score.weight": torch.zeros(3, D)}, {}, ("score.weight is (3, 8), expected (1, 8)",)),
        ({"score.weight": torch.zeros(1, D + 1)}, {}, ("score.weight is (1, 9), expected (1, 8)",)),
        ({"score.weight": torch.zeros(0)}, {}, ("score.weight", "ZeRO-3", "zero_to_fp32.py")),
        ({"score.weight": SCORE * torch.nan}, {}, ("score.weight holds NaN",)),
        ({"score.0.weight": SCORE, "score.2.weight": SCORE}, {}, ("score.0.weight, score.2.weight", "several layers")),
        ({"v_head.summary.weight": SCORE}, {}, ("v_head.summary.weight, which is no head",)),
        ({"score.weight": SCORE, "module.score.weight": SCORE + 1}, {}, ("score.weight twice",)),
        (
            {"score.weight": SCORE, "v_head.summary.weight": SCORE, "v_head.summary.bias": BIAS},
            {},
            ("score.weight, v_head.summary.bias", "no head that is known"),
        ),
        ({"score.weight": SCORE}, {"value_head_prefix": ["score"]}, ("value_head_prefix is ['score']",)),
    ],
)
def test_what_is_no_such_head_is_refused(tensors, config, told, tmp_path):
    said = refusal(write(tmp_path, tensors, **config))
    assert all(part in said for part in told), said
    assert str(tmp_path) in said


@pytest.mark.parametrize("names", [("weight", "bias"), ("v_head.summary.weight", "v_head.summary.bias")])
def test_two_heads_are_refused(names, tmp_path):
    write(tmp_path, {"v_head.summary.weight": SCORE + 1, "v_head.summary.bias": BIAS})
    save_file(dict(zip(names, (SCORE, BIAS), strict=True)), tmp_path / "value_head.safetensors")
    told = refusal(tmp_path)
    assert "value_head.safetensors" in told
    assert "v_head.summary.weight" in told


@pytest.mark.parametrize(
    "settings", [{"value_head_type": "mlp"}, {"resp_repr_mode": "response_mean"}, {"value_head_outputs": 2}]
)
def test_settings_of_another_head_are_refused(settings, tmp_path):
    file = write(tmp_path, {"score.weight": SCORE}) / "reward_model_config.json"
    file.write_text(json.dumps({"value_head_type": "linear", "resp_repr_mode": "last", "trained_mode": "isolated"}))
    assert found(tmp_path).layout.name == "sequence_classification"
    file.write_text(json.dumps(settings))
    told = refusal(tmp_path)
    ((field, value),) = settings.items()
    assert f"{file} says {field} {value!r}, but {tmp_path} holds score.weight" in told


def test_a_head_that_was_split_off_and_left_in_place_is_one(tmp_path):
    tensors = {"v_head.summary.weight": SCORE, "v_head.summary.bias": BIAS}
    save_file(tensors, write(tmp_path, tensors) / "value_head.safetensors")
    assert torch.equal(found(tmp_path).tensors["weight"], SCORE)


def test_a_reward_model_of_several_responses_is_read_as_before(tmp_path):
    write(tmp_path, {})
    save_file({"weight": SCORE, "bias": BIAS}, tmp_path / "value_head.safetensors")
    (tmp_path / "reward_model_config.json").write_text(json.dumps({"value_head_type": "linear"}))
    head = found(tmp_path)
    assert (head.layout.name, head.divisor(D), head.layout.single) == ("multi_response", D**0.5, False)


def test_names_in_wrappers():
    for name, bare in {
        "score.weight": "score.weight",
        "base_model.model.score.modules_to_save.default.weight": "score.weight",
        "base_model.model.score.modules_to_save.weight": "score.weight",
        "module.pretrained_model._orig_mod.model.x": "model.x",
        "model.module.x": "model.module.x",
    }.items():
        assert bare_name(name) == bare


def test_every_layout_but_the_first_is_of_single_responses():
    assert [layout.single for layout in LAYOUTS] == [False, True, True, True, True, True]
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)
