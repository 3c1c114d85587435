"""LoRA adapters merged as PEFT merges them, or refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint._lora import read_adapters
from yoj.export.checkpoint.weights import TensorSource, Weights, read_folder

NAMES = ("att_proj", "attn_out", "ff_proj", "ff_out")


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.att_proj = nn.Linear(12, 24, bias=False)
        self.attn_out = nn.Linear(24, 12, bias=False)
        self.ff_proj = nn.Linear(12, 40, bias=False)
        self.ff_out = nn.Linear(20, 12, bias=False)


class Trunk(nn.Module):
    """Linear layers with the names of the released model."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Layer() for _ in range(3))
        self.head = nn.Linear(12, 5, bias=True)

    def forward(self, x):
        return self.head(x)


@pytest.fixture
def base(tmp_path) -> Path:
    """A folder with a base model in float32."""
    folder = tmp_path / "base"
    folder.mkdir()
    torch.manual_seed(0)
    save_file(Trunk().state_dict(), folder / "model.safetensors")
    return folder


def load(base: Path) -> Trunk:
    model = Trunk()
    model.load_state_dict(load_file(base / "model.safetensors"))
    return model


def train(base: Path, folder: Path, seed: int = 1, **config) -> Path:
    """An adapter with random weights, saved by PEFT."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(load(base), LoraConfig(**{"target_modules": list(NAMES), "r": 4, **config}))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += torch.randn_like(parameter) * 0.3
        model.save_pretrained(folder)
    return folder


def merge(base: Path, *adapters: Path) -> dict[str, torch.Tensor]:
    """What PEFT makes of a base and adapters, one after the other."""
    model: nn.Module = load(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for adapter in adapters:
            model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return model.state_dict()


def merged(base: Path, *adapters: Path) -> Weights:
    tensors = read_folder(base)
    return Weights(tensors, read_adapters(adapters, tensors))


def refusal(base: Path, *adapters: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        merged(base, *adapters)
    return str(error.value)


def edit(adapter: Path, **config) -> Path:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return adapter


def assert_merged_as_peft_does(base: Path, *adapters: Path) -> None:
    weights, expected, before = merged(base, *adapters), merge(base, *adapters), load(base).state_dict()
    changed = {name for name in expected if not torch.equal(expected[name], before[name])}
    assert changed
    for name, tensor in expected.items():
        torch.testing.assert_close(weights.read(name), tensor, rtol=0, atol=1e-6)
        assert torch.equal(weights.read(name), before[name]) == (name not in changed)


CONFIGS = {
    "defaults": {},
    "rank 1": {"r": 1, "lora_alpha": 3},
    "rank over the width": {"r": 16, "lora_alpha": 16},
    "fractional alpha": {"lora_alpha": 7.5},
    "rank-stabilised": {"use_rslora": True, "r": 5},
    "rank pattern": {"rank_pattern": {"ff_out": 2, "blocks.1.att_proj": 7}},
    "alpha pattern": {"alpha_pattern": {"attn_out": 32, "blocks.2.ff_proj": 1}},
    "regular expressions": {"rank_pattern": {r"blocks\.[01]\.ff_.*": 3}, "alpha_pattern": {"^blocks.0.ff_out": 9}},
    "patterns that match nothing": {"rank_pattern": {"out": 2}, "alpha_pattern": {"blocks.1": 99}},
    "two patterns match": {"rank_pattern": {"blocks.1.ff_out": 6, "ff_out": 2}},
    "all together": {"use_rslora": True, "rank_pattern": {"ff_out": 2}, "alpha_pattern": {"ff_out": 5}},
    "one layer": {"target_modules": ["att_proj"], "layers_to_transform": [2], "layers_pattern": "blocks"},
    "targets as a pattern": {"target_modules": r".*blocks\.0\.(att|ff)_proj"},
    "gaussian start": {"init_lora_weights": "gaussian"},
    "dropout": {"lora_dropout": 0.05, "bias": "none"},
    "DoRA": {"use_dora": True},
    "DoRA, rank-stabilised, with ranks": {"use_dora": True, "use_rslora": True, "rank_pattern": {"ff_out": 2}},
    "all biases": {"bias": "all"},
    "biases of the targets": {"bias": "lora_only", "target_modules": ["head", "ff_out"]},
    "bias of B": {"lora_bias": True, "target_modules": ["head"]},
    "whole modules": {"modules_to_save": ["head", "blocks.1.ff_out"], "target_modules": ["att_proj"]},
    "parameters": {"target_parameters": ["att_proj.weight", "blocks.1.ff_out.weight"], "target_modules": []},
    "ranks of parameters": {
        "target_parameters": ["att_proj.weight"],
        "target_modules": ["ff_out"],
        "rank_pattern": {"blocks.1.att_proj.weight": 2},
        "alpha_pattern": {"att_proj.weight": 3},
    },
    "PiSSA": {"init_lora_weights": "pissa"},
    "OLoRA": {"init_lora_weights": "olora"},
    "orthogonal start": {"init_lora_weights": "orthogonal"},
    "EVA": {"init_lora_weights": "eva"},
    "a setting of other layers": {"fan_in_fan_out": True},
    "MiCA": {"init_lora_weights": "mica"},
}


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_merged_tensors_are_those_of_peft(config, base, tmp_path):
    assert_merged_as_peft_does(base, train(base, tmp_path / "adapter", **config))


@pytest.mark.slow
def test_adapters_one_after_the_other(base, tmp_path):
    first = train(base, tmp_path / "first", seed=1, r=2, lora_alpha=9)
    second = train(base, tmp_path / "second", seed=2, r=6, use_rslora=True, target_modules=["ff_out", "att_proj"])
    third = train(base, tmp_path / "third", seed=3, target_modules=["head"])
    assert_merged_as_peft_does(base, first, second, third)


def test_a_merged_tensor_is_the_same_in_every_plan(base, tmp_path):
    adapter = train(base, tmp_path / "adapter")
    weights, expected = merged(base, adapter), merge(base, adapter)
    names = ("blocks.0.att_proj.weight", "head.weight", "blocks.1.ff_proj.weight")
    joined = torch.cat([expected[name] for name in names])
    straight = torch.cat(list(weights.blocks(TensorSource(names), torch.float32)))
    (turned,) = weights.blocks(TensorSource(names, transpose=True), torch.float32)
    torch.testing.assert_close(straight, joined, rtol=0, atol=1e-6)
    torch.testing.assert_close(turned, joined.t(), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_files_are_merged_in_float32(dtype, base, tmp_path):
    adapter = train(base, tmp_path / "adapter", lora_alpha=12)
    for file in (base / "model.safetensors", adapter / "adapter_model.safetensors"):
        save_file({name: tensor.to(dtype) for name, tensor in load_file(file).items()}, file)
    before, tensors = load_file(base / "model.safetensors"), load_file(adapter / "adapter_model.safetensors")
    up, down = (tensors[f"base_model.model.blocks.1.ff_out.lora_{x}.weight"].float() for x in "BA")
    name = "blocks.1.ff_out.weight"
    expected = before[name].float() + 3 * up @ down
    result = merged(base, adapter).read(name)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    assert not torch.equal(result, result.to(dtype).float())


REFUSED = {
    "several layers of one": ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication is set"),
    "tokens that switch it on": ({"alora_invocation_tokens": [3, 4]}, "alora_invocation_tokens is set"),
    "a router": ({"arrow_config": {"top_k": 2}}, "arrow_config is set"),
    "LoftQ": ({"init_lora_weights": "loftq"}, "init_lora_weights is 'loftq', which changes the base"),
    "PiSSA by a random method": ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4'"),
    "a pattern that is a list": ({"rank_pattern": [1]}, "rank_pattern is [1], not a dict"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_merged_is_refused(what, base, tmp_path):
    config, told = REFUSED[what]
    text = refusal(base, edit(train(base, tmp_path / "adapter"), **config))
    assert str(tmp_path / "adapter" / "adapter_config.json") in text
    assert told in text
    assert "merge_and_unload" in text


def test_every_reason_is_told_at_once(base, tmp_path):
    text = refusal(base, edit(train(base, tmp_path / "adapter"), use_qalora=True, kasa_config={"a": 1}, r=0))
    assert all(name in text for name in ("use_qalora", "kasa_config", "r is 0"))


def test_unknown_settings_are_said(base, tmp_path):
    said: list[str] = []
    adapter = edit(train(base, tmp_path / "adapter"), shuffled=True, other=None)
    read_adapters([adapter], read_folder(base), note=said.append)
    (text,) = said
    assert "shuffled is not known here" in text
    assert "other" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "fault"),
    [(True, "its lora_magnitude_vector is missing, and use_dora is set"), (False, "and use_dora is not set")],
)
def test_dora_is_there_if_the_settings_say_so(said, fault, base, tmp_path):
    text = refusal(base, edit(train(base, tmp_path / "adapter", use_dora=not said), use_dora=said))
    assert fault in text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LOHA", "IA3", None])
def test_other_adapters_than_lora_are_refused(kind, base, tmp_path):
    text = refusal(base, edit(train(base, tmp_path / "adapter"), peft_type=kind))
    assert f"peft_type is {kind!r}" in text


def test_every_tensor_that_does_not_fit_is_told(base, tmp_path):
    adapter = train(base, tmp_path / "adapter")
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    prefix = "base_model.model.blocks"
    tensors[f"{prefix}.0.ff_out.lora_A.weight"] = torch.zeros(4, 21)
    tensors[f"{prefix}.1.ff_out.lora_B.weight"] = torch.zeros(12, 3)
    del tensors[f"{prefix}.2.ff_out.lora_B.weight"], tensors[f"{prefix}.2.att_proj.lora_A.weight"]
    tensors[f"{prefix}.7.ff_out.lora_A.weight"] = torch.zeros(4, 20)
    tensors[f"{prefix}.7.ff_out.lora_B.weight"] = torch.zeros(12, 4)
    tensors[f"{prefix}.0.ff_out.lora_magnitude_vector"] = torch.zeros(12)
    save_file(tensors, file)
    text = refusal(base, adapter)
    assert str(file) in text
    assert "0.ff_out.lora_A.weight: B (12, 4) x A (4, 21) does not fit blocks.0.ff_out.weight (12, 20)" in text
    assert "1.ff_out.lora_A.weight: B (12, 3) x A (4, 20) does not fit" in text
    assert "2.ff_out.lora_A.weight: its lora_B is missing" in text
    assert "2.att_proj.lora_B.weight: not one of a lora_A, lora_B pair" in text
    assert "7.ff_out.lora_A.weight: the base has no blocks.7.ff_out.weight" in text
    assert "lora_magnitude_vector: not one of a lora_A, lora_B pair" in text
    assert text.count("\n  ") == 6


@pytest.mark.slow
@pytest.mark.parametrize("config", [{"r": 8}, {"rank_pattern": {"ff_out": 2}}])
def test_a_rank_other_than_the_config_says_is_refused(config, base, tmp_path):
    """The scale is alpha / rank: with the wrong one the merged model would be another. PEFT refuses it as well."""
    adapter = edit(train(base, tmp_path / "adapter"), **config)
    with pytest.raises(RuntimeError, match="size mismatch"):
        merge(base, adapter)
    text = refusal(base, adapter)
    assert str(adapter) in text
    assert "rank" in text


def test_an_adapter_on_modules_of_other_names_is_refused(base, tmp_path):
    adapter = train(base, tmp_path / "adapter", target_modules=["att_proj"])
    file = adapter / "adapter_model.safetensors"
    renamed = {name.replace("att_proj", "self_attn.q_proj"): tensor for name, tensor in load_file(file).items()}
    save_file(renamed, file)
    text = refusal(base, adapter)
    assert "the base has no blocks.0.self_attn.q_proj.weight" in text
    assert "--base" in text
    assert "its modules must have the released names" in text


@pytest.mark.slow
def test_the_second_adapter_is_checked_too(base, tmp_path):
    first, second = train(base, tmp_path / "first"), edit(train(base, tmp_path / "second"), use_qalora=True)
    assert str(second) in refusal(base, first, second)


def test_an_adapter_without_lora_tensors_is_refused(base, tmp_path):
    adapter = train(base, tmp_path / "adapter")
    save_file({}, adapter / "adapter_model.safetensors")
    assert "it holds no LoRA tensors" in refusal(base, adapter)


def test_an_adapter_without_weights_is_refused(base, tmp_path):
    adapter = train(base, tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").unlink()
    assert f"{adapter} has no adapter_model.safetensors or adapter_model.bin" in refusal(base, adapter)


@pytest.mark.slow
def test_a_pickled_adapter_is_read_as_tensors_alone(base, tmp_path):
    adapter = train(base, tmp_path / "adapter")
    tensors = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(tensors, adapter / "adapter_model.bin")
    assert_merged_as_peft_does(base, adapter)
    torch.save({**tensors, "more": Path("/")}, adapter / "adapter_model.bin")
    text = refusal(base, adapter)
    assert f"{adapter / 'adapter_model.bin'} cannot be read as tensors: " in text
    assert "not loaded" in text


@pytest.mark.slow
@pytest.mark.parametrize("content", ["{", "[]", '{"peft_type": "LORA"}'], ids=["cut off", "a list", "without a rank"])
def test_a_damaged_adapter_config_is_refused_by_name(content, base, tmp_path):
    adapter = train(base, tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text(content)
    assert str(adapter / "adapter_config.json") in refusal(base, adapter)


def test_peft_is_one_whose_merge_is_known():
    assert tuple(int(part) for part in peft.__version__.split(".")[:2]) >= (0, 18)
