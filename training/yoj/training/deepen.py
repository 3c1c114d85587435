"""More decoder layers on top of a small base.

A model that describes pictures predicts each word at the position before it. To compare what it predicted with the word
that stands there takes layers above those that predict.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .checkpoints import MODEL

LAYERS = {"molmo2": "model.transformer.blocks.", "qwen3_vl": "model.language_model.layers."}
WRITES = ("o_proj", "down_proj", "attn_out", "ff_out")
"""Matrices that write into the states between the layers; they start small, so that the model stays what it was."""
START = 0.1


def deepen(base: Path, out: Path, layers: int, seed: int) -> None:
    """Write a copy of a base model with ``layers`` fresh decoder layers on top.

    Args:
        base: of either family, in one safetensors file.
        out: a folder that does not exist.
        layers: to add.
        seed: of their weights: N(0, 1 / in), norms 1, and what writes between the layers a tenth of that.
    """
    shutil.copytree(base, out)
    config = json.loads((base / "config.json").read_text("utf-8"))
    prefix, first = LAYERS[config["model_type"]], int(config["text_config"]["num_hidden_layers"])
    config["text_config"]["num_hidden_layers"] = first + layers
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    generator = torch.Generator().manual_seed(seed)
    tensors = load_file(base / MODEL)
    for name, like in list(tensors.items()):
        if name.startswith(f"{prefix}0."):
            for number in range(first, first + layers):
                tensors[f"{prefix}{number}." + name.removeprefix(f"{prefix}0.")] = _fresh(name, like, generator)
    save_file(tensors, out / MODEL, {"format": "pt"})


def _fresh(name: str, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if like.dim() == 1:
        return torch.ones_like(like)
    gain = START if any(part in name for part in WRITES) else 1.0
    return torch.randn(like.shape, generator=generator) * gain / math.sqrt(like.shape[1])
