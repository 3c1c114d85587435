"""Adapters as PEFT writes them, over both backbones: merged like stock PEFT merges them into stock transformers."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import (
    ATTENTION,
    HEAD,
    TRAINING,
    Base,
    add_head,
    assert_state,
    change,
    make_base,
    opened,
    perturb,
    refusal,
    stock_merge,
    train,
)
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint.checkpoint import Checkpoint

pytestmark = [pytest.mark.parity, pytest.mark.slow]


@pytest.fixture(scope="module", params=["qwen3_vl", "molmo2"])
def base(request, tmp_path_factory) -> Base:
    return make_base(request.param, tmp_path_factory.mktemp(request.param) / "base")


CONFIGS: dict[str, dict[str, Any]] = {
    "LoRA": {"target_modules": ATTENTION},
    "all linear layers": {"target_modules": "all-linear"},
    "DoRA on all linear layers": {"target_modules": "all-linear", "use_dora": True, "use_rslora": True},
    "biases of the targets": {"target_modules": "all-linear", "bias": "lora_only"},
    "all biases": {"target_modules": ATTENTION, "bias": "all"},
    "LoRA on embeddings": {"target_modules": [*ATTENTION, "embed_tokens"]},
    "DoRA on embeddings": {"target_modules": ["embed_tokens"], "use_dora": True},
    "whole embeddings": {"target_modules": ATTENTION, "modules_to_save": ["embed_tokens"]},
    "whole norms": {"target_modules": ATTENTION, "modules_to_save": ["norm", "q_norm", "input_layernorm"]},
    "tokens": {"target_modules": ATTENTION, "trainable_token_indices": [7, 3, 955]},
    "tokens by name": {"target_modules": ["k_proj"], "trainable_token_indices": {"embed_tokens": [900, 2]}},
    "parameters": {"target_modules": [], "target_parameters": ["q_proj.weight", "mlp.gate_proj.weight"]},
    "embeddings saved as well": {"target_modules": ATTENTION, "save": {"save_embedding_layers": True}},
    "PiSSA": {"target_modules": ATTENTION, "init_lora_weights": "pissa"},
    "OLoRA": {"target_modules": ATTENTION, "init_lora_weights": "olora"},
    "ranks by layer": {"target_modules": [*ATTENTION, "gate_proj"], "rank_pattern": {r"layers\.1\..*v_proj": 2}},
    "pickled": {"target_modules": ATTENTION, "save": {"safe_serialization": False}},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_merged_as_stock_peft_merges(config, base, tmp_path):
    adapter = train(base, tmp_path / "adapter", **config)
    assert_state(base, opened(base, adapter), stock_merge(base, adapter))


@pytest.mark.slow
def test_adapters_one_after_the_other(base, tmp_path):
    first = train(base, tmp_path / "first", 1, target_modules="all-linear", modules_to_save=["norm"])
    second = train(base, tmp_path / "second", 2, target_modules=ATTENTION, use_dora=True, trainable_token_indices=[5])
    third = train(base, tmp_path / "third", 3, target_modules=["v_proj", "embed_tokens"], use_rslora=True)
    assert_state(base, opened(base, first, second, third), stock_merge(base, first, second, third))


def test_the_same_adapter_twice(base, tmp_path):
    adapter = train(base, tmp_path / "adapter", target_modules=ATTENTION, use_dora=True)
    assert_state(base, opened(base, adapter, adapter), stock_merge(base, adapter, adapter))


def test_a_table_that_was_resized_in_training(base, tmp_path):
    """The adapter holds the whole table; rows that later adapters train may be new ones."""

    def resize(model: Any) -> None:
        torch.manual_seed(5)
        model.resize_token_embeddings(1100, mean_resizing=False)

    save = {"save_embedding_layers": True}
    first = train(base, tmp_path / "first", 1, edit=resize, target_modules=ATTENTION, save=save)
    second = train(base, tmp_path / "second", 2, edit=resize, target_modules=["k_proj"], trainable_token_indices=[1099])
    expected = stock_merge(base, first, second, edit=resize)
    assert expected["language_model.embed_tokens.weight"].shape == (1100, 64)
    assert_state(base, opened(base, first, second), expected)


def test_pissa_that_peft_converted_to_lora(base, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(r=4, lora_alpha=6, target_modules=ATTENTION, init_lora_weights="pissa")
        model = get_peft_model(base.load(), config)
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(tmp_path / "start")
        model.peft_config["default"].init_lora_weights = "pissa"
        perturb(model, 1)
        model.save_pretrained(tmp_path / "adapter", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    add_head(base, tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == 8
    assert_state(base, opened(base, tmp_path / "adapter"), stock_merge(base, tmp_path / "adapter"))


def rename(adapter: Path, new: Callable[[str], str]) -> Path:
    file = adapter / "adapter_model.safetensors"
    save_file({new(name): tensor for name, tensor in load_file(file).items()}, file)
    return adapter


PREFIXES = {
    "compiled": lambda name: name.replace("base_model.model.", "base_model.model._orig_mod."),
    "compiled outside": lambda name: f"_orig_mod.{name}",
    "data parallel": lambda name: f"module.{name}",
    "data parallel inside": lambda name: name.replace("base_model.model.", "base_model.model.module."),
    "a class with a head": lambda name: f"pretrained_model.{name}",
    "FSDP": lambda name: name.replace(".self_attn.", "._fsdp_wrapped_module.self_attn."),
    "with the adapter's name": lambda name: name.replace(".weight", ".default.weight"),
    "without a prefix": lambda name: name.removeprefix("base_model.model."),
}


@pytest.mark.parametrize("new", PREFIXES.values(), ids=PREFIXES)
def test_names_that_wrappers_lengthen(new, base, tmp_path):
    adapter = train(base, tmp_path / "adapter", target_modules=ATTENTION)
    expected = stock_merge(base, adapter)
    assert_state(base, opened(base, rename(adapter, new)), expected)


@pytest.mark.parametrize("part", ["model", "model.language_model"], ids=["bare", "text"])
@pytest.mark.parametrize("config", [{"target_modules": "all-linear"}, {"target_modules": ["embed_tokens", "k_proj"]}])
def test_names_of_a_part_of_the_model(config, part, base, tmp_path):
    adapter = train(base, tmp_path / "adapter", part=part, modules_to_save=["norm"], **config)
    assert_state(base, opened(base, adapter), stock_merge(base, adapter, part=part))


def test_names_of_a_text_model_with_a_head(base, tmp_path):
    adapter = train(base, tmp_path / "adapter", part="model.language_model", target_modules=ATTENTION)
    expected = stock_merge(base, adapter, part="model.language_model")
    renamed = rename(adapter, lambda name: name.replace("base_model.model.", "base_model.model.model."))
    assert_state(base, opened(base, renamed), expected)


def test_names_that_the_base_has_not_take_one_line(base, tmp_path):
    adapter = train(base, tmp_path / "adapter", target_modules=ATTENTION)
    text = refusal(base, rename(adapter, lambda name: name.replace("layers.", "strata.")))
    assert text.count("\n  ") == 1
    count = len(load_file(adapter / "adapter_model.safetensors")) // 2
    assert re.search(rf"nor \d+ more of {count} tensors", text)
    assert str(adapter) in text


def test_a_key_of_no_known_kind_does_not_blame_the_base(base, tmp_path):
    adapter = train(base, tmp_path / "adapter", target_modules=ATTENTION)
    text = refusal(base, rename(adapter, lambda name: name.replace("v_proj.lora_B", "v_proj.lora_E")))
    assert "lora_E.weight: of no kind of adapter that can be merged" in text
    assert "--base" not in text


# What no score needs, and heads.


@pytest.mark.parametrize("config", [{"target_modules": [*ATTENTION, "lm_head"]}, {"modules_to_save": ["lm_head"]}])
def test_the_language_models_head_is_left_out_and_said(config, base, tmp_path):
    """Where it is tied, PEFT's merge would also change the embeddings, which training did not."""
    adapter = train(base, tmp_path / "adapter", **{"target_modules": ATTENTION} | config)
    checkpoint = opened(base, adapter)
    (note,) = checkpoint.notes
    assert "lm_head (" in note
    assert "no score needs it" in note
    without = shutil.copytree(adapter, tmp_path / "without")
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({n: t for n, t in tensors.items() if "lm_head" not in n}, without / "adapter_model.safetensors")
    change(without / "adapter_config.json", target_modules=ATTENTION, modules_to_save=None)
    assert_state(base, checkpoint, stock_merge(base, without))


# Files beside.


@pytest.mark.parametrize("name", ["non_lora_state_dict.bin", "non_lora_trainables.bin"])
@pytest.mark.parametrize("prefix", ["base_model.model.", ""])
def test_what_was_trained_whole_beside_an_adapter_is_merged(prefix, name, base, tmp_path):
    adapter = train(base, tmp_path / "adapter", target_modules=ATTENTION)
    expected = stock_merge(base, adapter)
    trained = {n: torch.randn_like(t) for n, t in expected.items() if "merger" in n or "image_projector" in n}
    assert trained
    torch.save({f"{prefix}model.{n}": t for n, t in trained.items()}, adapter / name)
    checkpoint = opened(base, adapter)
    assert_state(base, checkpoint, expected | trained)
    assert adapter / name in set(checkpoint.files())


def test_what_was_trained_whole_beside_a_named_adapter_is_merged(base, tmp_path):
    out = train(base, tmp_path / "out", name="reward", target_modules=ATTENTION)
    expected = stock_merge(base, out / "reward")
    norm = {"language_model.norm.weight": torch.randn(64)}
    torch.save({f"model.{name}": tensor for name, tensor in norm.items()}, out / "non_lora_state_dict.bin")
    for given in (out, out / "reward"):
        add_head(base, given)
        checkpoint = opened(base, given)
        assert_state(base, checkpoint, expected | norm)
        assert out / "non_lora_state_dict.bin" in set(checkpoint.files())


@pytest.mark.parametrize("value", [torch.ones(64, dtype=torch.int64), torch.ones(64).to_sparse(), torch.tensor(1)])
def test_what_is_no_dense_float_is_refused(value, base, tmp_path):
    adapter = train(base, tmp_path / "adapter", target_modules=ATTENTION)
    torch.save({"model.language_model.norm.weight": value}, adapter / "non_lora_state_dict.bin")
    text = refusal(base, adapter)
    assert f"{adapter / 'non_lora_state_dict.bin'}: model.language_model.norm.weight is " in text
    assert "dense tensors of floating point numbers are read" in text


def test_a_head_in_an_adapter_is_read_as_a_head(base, tmp_path):
    adapter = train(base, tmp_path / "adapter", target_modules=ATTENTION)
    expected = stock_merge(base, adapter)
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"base_model.model.score.weight": torch.ones(1, 64)}, file)
    change(adapter / "adapter_config.json", modules_to_save=["score"])
    assert "Remove the one that was not trained last" in refusal(base, adapter)  # there is a head file too
    for other in HEAD:
        (adapter / other).unlink(missing_ok=True)
    checkpoint = opened(base, adapter)
    assert_state(base, checkpoint, expected)
    assert checkpoint.head.layout.name == "sequence_classification"
    assert checkpoint.head.tensors["weight"].tolist() == [[1.0] * 64]
    save_file(tensors | {"base_model.model.score.lora_A.weight": torch.ones(1, 64)}, file)
    assert refusal(base, adapter)


def test_what_was_trained_whole_and_fits_nowhere_is_refused(base, tmp_path):
    adapter = train(base, tmp_path / "adapter", target_modules=ATTENTION)
    torch.save({"model.resampler.weight": torch.ones(2, 2)}, adapter / "non_lora_state_dict.bin")
    text = refusal(base, adapter)
    assert str(adapter / "non_lora_state_dict.bin") in text
    assert "the base has no model.resampler.weight" in text


@pytest.mark.parametrize("name", ["projector.bin", "new_embeddings.safetensors", "pytorch_model.bin"])
def test_other_weights_beside_an_adapter_are_refused(name, base, tmp_path):
    adapter = train(base, tmp_path / "adapter", target_modules=ATTENTION)
    (adapter / name).write_bytes(b"")
    text = refusal(base, adapter)
    assert str(adapter / name) in text
    assert "what it changes is not known" in text


def test_tensors_that_were_not_gathered_are_refused(base, tmp_path):
    adapter = train(base, tmp_path / "adapter", target_modules=ATTENTION, modules_to_save=["norm"])
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({n: t if "lora_A" in n else torch.empty(0) for n, t in tensors.items()}, file)
    text = refusal(base, adapter)
    empty = sum("lora_A" not in n for n in tensors)
    assert f"{file}: {empty} of {len(tensors)} tensors are empty" in text
    assert "ZeRO-3" in text
    assert "zero_to_fp32.py" in text


@pytest.mark.parametrize("head_below", [False, True])
def test_an_adapter_with_a_name_of_its_own_is_found(head_below, base, tmp_path):
    out = train(base, tmp_path / "out", name="reward", target_modules=ATTENTION)
    if head_below:
        for file in out.glob("*"):
            if file.is_file():
                shutil.move(file, out / "reward" / file.name)
    checkpoint = opened(base, out)
    assert checkpoint.adapters == (out / "reward",)
    assert_state(base, checkpoint, stock_merge(base, out / "reward"))
    assert {out / "reward" / "adapter_model.safetensors", *out.rglob("value_head*")} <= set(checkpoint.files())


@pytest.mark.parametrize("name", ["tokenizer.json", "processor_config.json", "chat_template.jinja"])
def test_files_that_lie_in_the_other_folder_of_a_named_adapter_are_not_passed_over(name, base, tmp_path):
    out = train(base, tmp_path / "out", name="reward", target_modules=ATTENTION)
    (out / "reward" / name).write_text("{}")
    assert f"{out / 'reward'} has {name}" in refusal(base, out)
    add_head(base, out / "reward")
    (out / name).write_text("{}")
    (out / "reward" / name).unlink()
    assert f"{out} has {name}" in refusal(base, out)


def test_one_of_several_named_adapters_must_be_chosen(base, tmp_path):
    out = train(base, tmp_path / "out", name="reward", target_modules=ATTENTION)
    shutil.copytree(out / "reward", out / "second")
    text = refusal(base, out)
    assert "several adapters: reward, second" in text
    assert str(out / "reward") in text


def test_a_merged_folder_with_its_adapter_left_in_names_the_file_to_remove(base, tmp_path):
    adapter = train(base, tmp_path / "adapter", target_modules=ATTENTION)
    merged = shutil.copytree(base.folder, tmp_path / "merged")
    add_head(base, merged)
    shutil.copy(adapter / "adapter_model.safetensors", merged)
    with pytest.raises(CheckpointError) as error:
        Checkpoint.open([merged], None, TRAINING)
    text = str(error.value)
    assert f"remove {merged / 'adapter_model.safetensors'}" in text
    assert "left over" not in text
    (merged / "adapter_model.safetensors").unlink()
    shutil.copy(adapter / "adapter_config.json", merged)
    with pytest.raises(CheckpointError) as error:
        Checkpoint.open([merged], None, TRAINING)
    assert f"remove {merged / 'adapter_config.json'}" in str(error.value)
