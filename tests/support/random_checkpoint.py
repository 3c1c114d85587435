"""Molmo2 reward models of any size with random weights, on disk in the released layout, for tests and measurements."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

COPIED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "processor_config.json")
BASE_ROWS, EXTRA_ROWS = 960, 11
"""Rows of the two embedding tables, those of the tokenizer among the recorded cases."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model; the defaults are those of the checkpoint among the recorded cases."""

    head: str = "linear"
    activation: str | None = None
    readout: str = "last"
    head_hidden: int | None = None
    """None: as wide as what the head reads, and null in the settings."""
    D: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 96
    rope_theta: float = 5_000_000.0
    vit_width: int = 48
    vit_heads: int = 2
    vit_head_dim: int = 24
    vit_layers: int = 4
    vit_intermediate: int = 64
    taps: tuple[int, ...] = (-2, -4)
    crop: int = 182
    max_crops: int = 8
    margins: tuple[int, int] = (2, 2)
    seed: int = 0

    @property
    def stored_vit_layers(self) -> int:
        """Released checkpoints leave out the layers behind the deepest tap."""
        return max(tap % self.vit_layers for tap in self.taps) + 1


def write_checkpoint(sizes: Sizes, like: Path, folder: Path) -> Path:
    """Write a merged checkpoint of these sizes.

    Args:
        sizes: of the model.
        like: a checkpoint whose tokenizer, chat template and processor files are taken.
        folder: is made.
    """
    folder.mkdir(parents=True)
    for name in COPIED:
        shutil.copy(like / name, folder / name)
    size = {"size": {"height": sizes.crop, "width": sizes.crop}}
    video = json.loads((like / "video_preprocessor_config.json").read_text("utf-8")) | size
    preprocessor = json.loads((like / "preprocessor_config.json").read_text("utf-8")) | size
    preprocessor |= {"max_crops": sizes.max_crops, "overlap_margins": list(sizes.margins)}
    width = sizes.D * (2 if sizes.readout == "first_last_concat" else 1)
    settings = {
        "value_head_type": sizes.head,
        "value_head_hidden_dim": sizes.head_hidden,
        "value_head_activation": sizes.activation,
        "value_head_input_dim": width,
        "resp_repr_mode": sizes.readout,
    }
    for name, values in (
        ("config.json", _config(sizes, like)),
        ("preprocessor_config.json", preprocessor),
        ("video_preprocessor_config.json", video),
        ("reward_model_config.json", settings),
    ):
        (folder / name).write_text(json.dumps(values, indent=2), "utf-8")
    torch.manual_seed(sizes.seed)
    save_file(_tensors(sizes), folder / "model.safetensors")
    torch.save(_head(sizes, width), folder / "value_head.pt")
    return folder


def _config(sizes: Sizes, like: Path) -> dict[str, Any]:
    config = json.loads((like / "config.json").read_text("utf-8"))
    config["text_config"] |= {
        "hidden_size": sizes.D,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
        "intermediate_size": sizes.intermediate,
        "rope_theta": sizes.rope_theta,
        "vocab_size": BASE_ROWS,
        "additional_vocab_size": EXTRA_ROWS,
    }
    vision = {
        "hidden_size": sizes.vit_width,
        "num_attention_heads": sizes.vit_heads,
        "num_key_value_heads": sizes.vit_heads,
        "head_dim": sizes.vit_head_dim,
    }
    config["vit_config"] |= vision | {
        "intermediate_size": sizes.vit_intermediate,
        "num_hidden_layers": sizes.vit_layers,
        "image_default_input_size": [sizes.crop, sizes.crop],
        "image_num_pos": (sizes.crop // 14) ** 2,
    }
    config["adapter_config"] |= vision | {"text_hidden_size": sizes.D, "vit_layers": list(sizes.taps)}
    return config


def _tensors(sizes: Sizes) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}

    def matrix(name: str, out: int, width: int, bias: bool = False) -> None:
        tensors[f"{name}.weight"] = torch.randn(out, width) * 1.2 / math.sqrt(width)
        if bias:
            tensors[f"{name}.bias"] = torch.randn(out) * 0.1

    def norm(name: str, width: int, bias: bool = False) -> None:
        tensors[f"{name}.weight"] = 1 + torch.randn(width) * 0.2
        if bias:
            tensors[f"{name}.bias"] = torch.randn(width) * 0.1

    text, vision = "model.transformer", "model.vision_backbone"
    wide = sizes.heads * sizes.head_dim
    tensors[f"{text}.wte.embedding"] = torch.randn(BASE_ROWS, sizes.D) * 0.5
    tensors[f"{text}.wte.new_embedding"] = torch.randn(EXTRA_ROWS, sizes.D) * 0.5
    tensors["lm_head.weight"] = torch.randn(BASE_ROWS, sizes.D) * 0.1
    for i in range(sizes.layers):
        block = f"{text}.blocks.{i}"
        norm(f"{block}.attn_norm", sizes.D)
        norm(f"{block}.ff_norm", sizes.D)
        matrix(f"{block}.self_attn.att_proj", wide + 2 * sizes.kv_heads * sizes.head_dim, sizes.D)
        matrix(f"{block}.self_attn.attn_out", sizes.D, wide)
        norm(f"{block}.self_attn.q_norm", sizes.head_dim)
        norm(f"{block}.self_attn.k_norm", sizes.head_dim)
        matrix(f"{block}.mlp.ff_proj", 2 * sizes.intermediate, sizes.D)
        matrix(f"{block}.mlp.ff_out", sizes.D, sizes.intermediate)
    norm(f"{text}.ln_f", sizes.D)

    inner = sizes.vit_heads * sizes.vit_head_dim
    vit = f"{vision}.image_vit"
    matrix(f"{vit}.patch_embedding", sizes.vit_width, 3 * 14 * 14, bias=True)
    tensors[f"{vit}.positional_embedding"] = torch.randn((sizes.crop // 14) ** 2, sizes.vit_width) * 0.3
    for i in range(sizes.stored_vit_layers):
        block = f"{vit}.transformer.resblocks.{i}"
        norm(f"{block}.attention_norm", sizes.vit_width, bias=True)
        norm(f"{block}.ffn_norm", sizes.vit_width, bias=True)
        for name in ("wq", "wk", "wv"):
            matrix(f"{block}.attention.{name}", inner, sizes.vit_width, bias=True)
        matrix(f"{block}.attention.wo", sizes.vit_width, inner, bias=True)
        matrix(f"{block}.feed_forward.w1", sizes.vit_intermediate, sizes.vit_width, bias=True)
        matrix(f"{block}.feed_forward.w2", sizes.vit_width, sizes.vit_intermediate, bias=True)
    for name in ("wq", "wk", "wv"):
        matrix(f"{vision}.image_pooling_2d.{name}", inner, sizes.vit_width * len(sizes.taps), bias=True)
    matrix(f"{vision}.image_pooling_2d.wo", sizes.vit_width, inner, bias=True)
    matrix(f"{vision}.image_projector.w1", 96, sizes.vit_width)
    matrix(f"{vision}.image_projector.w3", 96, sizes.vit_width)
    matrix(f"{vision}.image_projector.w2", sizes.D, 96)
    return tensors


def _head(sizes: Sizes, width: int) -> dict[str, torch.Tensor]:
    if sizes.head == "linear":
        return {"weight": torch.randn(1, width), "bias": torch.randn(1)}
    hidden = sizes.head_hidden or width
    return {
        "0.weight": torch.randn(hidden, width) / math.sqrt(width) * 1.5,
        "0.bias": torch.randn(hidden) * 0.2,
        "2.weight": torch.randn(1, hidden),
        "2.bias": torch.randn(1),
    }
