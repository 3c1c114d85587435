"""Tiny base models of both backbones, adapters that PEFT trains on them, and what PEFT makes of both."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_qwen3_vl import TinyQwen, write_qwen
from torch import nn
from transformers import Molmo2ForConditionalGeneration, Qwen3VLForConditionalGeneration

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.families.opening import open_family

RECORDED = Path(__file__).parents[1] / "golden" / "data" / "checkpoint-adapter"
HEAD = ("value_head.pt", "value_head.safetensors", "reward_model_config.json")
TRAINING = Training(hidden_state="post_norm")
ATTENTION = ["q_proj", "v_proj"]


@dataclass(frozen=True)
class Base:
    """A tiny base model of one family on disk, with a head beside it, and its class in transformers."""

    folder: Path
    stock: Any
    """The model in float32; never changed."""
    head: Path

    def load(self, edit: Callable[[Any], None] = lambda _: None) -> Any:
        """A copy of the stock model."""
        model = copy.deepcopy(self.stock)
        edit(model)
        return model


def make_base(family: str, folder: Path) -> Base:
    """Write a tiny base model of a family."""
    if family == "molmo2":
        shutil.copytree(RECORDED / "base", folder)
        for file in RECORDED.glob("*.json*"):
            if file.name not in ("adapter_config.json", *HEAD):
                shutil.copy(file, folder)
        stock = Molmo2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        return Base(folder, stock, RECORDED)
    write_qwen(TinyQwen(), folder)
    stock = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return Base(folder, stock, folder)


def perturb(model: nn.Module, seed: int) -> None:
    """What training would do, to all that is trained."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.randn_like(parameter) * 0.1


def train(base: Base, folder: Path, seed: int = 1, part: str = "", edit: Any = lambda _: None, **config: Any) -> Path:
    """An adapter of a model, or of a part of it, saved by PEFT with a head beside it."""
    save: dict[str, Any] = config.pop("save", {})
    name = config.pop("name", "default")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = base.load(edit).get_submodule(part)
        wrapped = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 6, **config}), adapter_name=name)
        perturb(wrapped, seed)
        wrapped.save_pretrained(str(folder), **save)
    below = folder if name == "default" else folder / name
    change(below / "adapter_config.json", base_model_name_or_path=str(base.folder))
    add_head(base, folder)
    return folder


def add_head(base: Base, folder: Path) -> None:
    """Copy a trained head beside an adapter."""
    for file in HEAD:
        if (base.head / file).is_file():
            shutil.copy(base.head / file, folder)


def change(file: Path, **values: Any) -> None:
    """Set values of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def stock_merge(base: Base, *adapters: Path, part: str = "", edit: Any = lambda _: None) -> dict[str, torch.Tensor]:
    """The trunk's state after PEFT has merged the adapters into the stock model."""
    model = base.load(edit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for adapter in adapters:
            merged = PeftModel.from_pretrained(model.get_submodule(part), adapter).merge_and_unload()
            if part:
                owner, _, leaf = part.rpartition(".")
                setattr(model.get_submodule(owner), leaf, merged)
            else:
                model = merged
    return {name: tensor.clone() for name, tensor in model.model.state_dict().items()}


def opened(base: Base, *adapters: Path) -> Checkpoint:
    """The adapters over their base."""
    return Checkpoint.open(adapters, base.folder, TRAINING)


def assert_state(
    base: Base, checkpoint: Checkpoint, expected: dict[str, torch.Tensor], tolerance: float = 1e-5
) -> None:
    """Every tensor of the stock model that the checkpoint fills is the expected one, and some are not the base's."""
    model = open_family(checkpoint).stock_model()
    assert model is not None
    state, before = model.state_dict(), base.stock.model.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            state[name], tensor, rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert any(not torch.equal(before[name], tensor) for name, tensor in expected.items())


def refusal(base: Base, *adapters: Path) -> str:
    """What is said of adapters that cannot be merged."""
    with pytest.raises(CheckpointError) as error:
        open_family(opened(base, *adapters))
    return str(error.value)
