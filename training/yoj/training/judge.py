"""The model that is trained: the traced modules of the export, with adapters, a value head and a language head.

Training the very modules that become graphs leaves no second implementation to keep in step: what is trained is what is
served, and adapters get the names of the released tensors.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.utils.checkpoint import checkpoint as recompute

from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.checkpoint.head import TrainedHead
from yoj.export.families import ExportFamily
from yoj.export.families.opening import open_family
from yoj.export.graph.modules import Projection, gather_rows
from yoj.export.graph.traced import materialise

from .batch import Batch
from .recipe import Head, Recipe

TARGETS = {
    "molmo2": ("att_proj", "attn_out", "ff_proj", "ff_out"),
    "qwen3_vl": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
}
"""Matrices of the language blocks that take adapters: those of the reference, and their counterparts in Qwen3-VL."""
LANGUAGE_HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Outputs:
    """Of one forward pass."""

    heads_RNK: torch.Tensor | None
    """float32: K values for each response, divided by sqrt(D): the score, and log sigma of a Gaussian head."""
    logits_TW: torch.Tensor | None
    """Of the next token, over W tokens."""


class Judge(nn.Module):
    """Vision tower, trunk, value head and, for language objectives, the language head."""

    def __init__(self, checkpoint: Checkpoint, recipe: Recipe):
        """Load the base's weights and add what is to be trained, without gradients for the rest."""
        super().__init__()
        self.family: ExportFamily = open_family(checkpoint)
        dtype = torch.float32 if recipe.trainable == "all" else getattr(torch, recipe.base_precision)
        graphs = {spec.role: spec for spec in self.family.graphs()}
        self.vision_spec, self.scorer_spec = graphs["vision"], graphs["scorer.joint"]
        self.vision = materialise(self.vision_spec, checkpoint, dtype)
        self.scorer: Any = materialise(self.scorer_spec, checkpoint, dtype)  # the family's own module
        self.hidden_size = int(checkpoint.config["text_config"]["hidden_size"])
        self.language_head: nn.Parameter | None = None
        if recipe.objective in ("joint", "language") and LANGUAGE_HEAD in checkpoint.weights:
            weight = checkpoint.weights.read(LANGUAGE_HEAD).to(dtype)
            self.language_head = nn.Parameter(weight, requires_grad=recipe.trainable == "all")
        if recipe.trainable == "all":
            for parameter in (*self.vision.parameters(), *self.scorer.parameters()):
                parameter.requires_grad_(parameter.is_floating_point())
            self.scorer.rotary.inv_freq.requires_grad_(False)
        else:
            self._add_adapters(recipe, TARGETS[checkpoint.family])
        self.scorer.readout.value_head.requires_grad_(recipe.objective != "language")
        if recipe.gradient_checkpointing:
            for block in self.blocks:
                block.forward = functools.partial(recompute, block.forward, use_reentrant=False)

    @property
    def blocks(self) -> nn.ModuleList:
        """The decoder layers."""
        return next(child for child in self.scorer.children() if isinstance(child, nn.ModuleList))

    def _add_adapters(self, recipe: Recipe, targets: tuple[str, ...]) -> None:
        for owner in list(self.scorer.modules()):
            for name, child in list(owner.named_children()):
                if name in targets and isinstance(child, Projection):
                    owner.add_module(name, _linear(child))
        inject_adapter_in_model(lora_config(recipe, targets), self.scorer)
        for name, parameter in self.scorer.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.float()

    def forward(self, batch: Batch) -> Outputs:
        """Heads of the rows to rank, and logits of the tokens to learn."""
        hidden_BLD = self.scorer.trunk(**self._inputs(batch))
        heads_RNK = logits_TW = None
        rows = len(batch.response_end_RN)
        if rows:
            readout, ends = self.scorer.readout, batch.response_end_RN
            starts = batch.response_start_RN if self._needs_start else None
            heads_RNK = readout.outputs(gather_rows(hidden_BLD[:rows], readout.rows(ends, starts)), ends, starts)
        if len(batch.labels_T) or not rows:
            chosen_TD = hidden_BLD.flatten(0, 1)[batch.label_place_T]
            weight = self.scorer.embedding.weight if self.language_head is None else self.language_head
            logits_TW = F.linear(self.scorer.readout.norm[0](chosen_TD).to(weight.dtype), weight)
        return Outputs(heads_RNK, logits_TW)

    @property
    def _needs_start(self) -> bool:
        return self.scorer.readout.needs_start

    def _inputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        features = self._features(batch)
        names = [name for name, (_, axes) in self.scorer_spec.inputs.items() if axes[-1] == "L"]
        inputs = {name: batch.tokens[name] for name in names} | features
        return inputs | ({"segment_ids": batch.tokens["segment_ids"]} if batch.isolated else {})

    def _features(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Rows of every feature output, [V, D]; one row of zeros where the batch shows nothing."""
        names = list(self.vision_spec.outputs)
        if not batch.media:
            empty: torch.Tensor = self.scorer.embedding.weight.new_zeros(1, self.hidden_size)
            # A tower that is trained gets gradients of zero: other processes may have media, and all add up the same.
            empty = empty + 0 * sum(weight.sum() for weight in self.vision.parameters() if weight.requires_grad)
            return dict.fromkeys(names, empty)
        parts: list[tuple[torch.Tensor, ...]] = []
        for group in batch.media:
            output = self.vision(**group)
            parts.append(output if isinstance(output, tuple) else (output,))
        return {
            name: torch.cat(rows)[batch.feature_order_V]
            for name, rows in zip(names, zip(*parts, strict=True), strict=True)
        }


def lora_config(recipe: Recipe, targets: tuple[str, ...]) -> LoraConfig:
    """The adapters of a recipe, as ``adapter_config.json`` holds them."""
    return LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,  # type: ignore[arg-type]  (any number; peft declares int)
        lora_dropout=recipe.lora.dropout,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=list(targets),
    )


def open_base(recipe: Recipe) -> Checkpoint:
    """The base model of a recipe with a fresh value head, drawn from the recipe's seed.

    Raises:
        CheckpointError: the folder is not a base model that can be exported.
    """
    training = Training(recipe.hidden_state, recipe.video_expansion)
    outputs = 2 if recipe.objective == "joint" else 1
    return Checkpoint.open_base(
        Path(recipe.base), lambda hidden_size: fresh_head(recipe.head, hidden_size, outputs, recipe.seed), training
    )


def fresh_head(head: Head, hidden_size: int, outputs: int, seed: int) -> TrainedHead:
    """A head before training: weights N(0, init_std), biases 0 (the reference's initialisation, with 0.01)."""
    generator = torch.Generator().manual_seed(seed)
    width = hidden_size * (2 if head.readout == "first_last_concat" else 1)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator) * head.init_std

    if head.type == "linear":
        tensors = {"weight": matrix(outputs, width), "bias": torch.zeros(outputs)}
    else:
        tensors = {"0.weight": matrix(head.hidden, width), "0.bias": torch.zeros(head.hidden)}
        tensors |= {"2.weight": matrix(outputs, head.hidden), "2.bias": torch.zeros(outputs)}
    return TrainedHead(head.type, head.activation if head.type == "mlp" else None, head.readout, tensors, outputs)


def _linear(projection: Projection) -> nn.Linear:
    """The same matrix as PyTorch's layer, which peft adapts."""
    width, out = projection.weight.shape
    linear = nn.Linear(width, out, bias=False, dtype=projection.weight.dtype)
    linear.weight = nn.Parameter(projection.weight.detach().t().contiguous(), requires_grad=False)
    return linear
