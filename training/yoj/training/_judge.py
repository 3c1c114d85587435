"""Judge that is trained: the traced modules of the export, with adapters, a value head and a language head.

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

from yoj.export import Training
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.checkpoint.head import HEADS, READOUTS, HeadShape, TrainedHead, asks_before
from yoj.export.families import ExportFamily
from yoj.export.families.opening import open_family
from yoj.export.graph.modules import Projection, gather_rows
from yoj.export.graph.traced import materialise
from yoj.runtime.roles import JOINT, VISION

from ._batch import Batch
from ._recipe import Head, Recipe, learns_language, ranks

LANGUAGE_HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Outputs:
    """Outputs of one forward pass."""

    heads_RNJK: torch.Tensor | None
    """Outputs of the value head, float32: K values for each of J dimensions, or of one score, of each response, divided
    by sqrt(D): the score, and log sigma of a Gaussian head."""
    logits_TW: torch.Tensor | None
    """Logits of the next token, over W tokens."""


class Judge(nn.Module):
    """Vision tower, trunk, value head and, for language objectives, the language head."""

    def __init__(self, checkpoint: Checkpoint, recipe: Recipe):
        """Load the base's weights and add the modules to train, without gradients for the rest."""
        super().__init__()
        self.family: ExportFamily = open_family(checkpoint)
        dtype = torch.float32 if recipe.trainable == "all" else getattr(torch, recipe.base_precision)
        graphs = {spec.role: spec for spec in self.family.graphs}
        self.vision_spec, self.scorer_spec = graphs[VISION], graphs[JOINT]
        self.vision = materialise(self.vision_spec, checkpoint, dtype)
        self.scorer: Any = materialise(self.scorer_spec, checkpoint, dtype)  # the family's own module
        self.hidden_size = int(checkpoint.config["text_config"]["hidden_size"])
        self.language_head: nn.Parameter | None = None
        if learns_language(recipe) and LANGUAGE_HEAD in checkpoint.weights:
            weight = checkpoint.weights.read(LANGUAGE_HEAD).to(dtype)
            self.language_head = nn.Parameter(weight, requires_grad=recipe.trainable == "all")
        if recipe.trainable == "all":
            for parameter in (*self.vision.parameters(), *self.scorer.parameters()):
                parameter.requires_grad_(parameter.is_floating_point())
            self.scorer.rotary.inv_freq.requires_grad_(False)
        else:
            self._add_adapters(recipe, self.family.adapter_targets)
        self.scorer.readout.value_head.requires_grad_(ranks(recipe))
        if recipe.gradient_checkpointing:
            for block in self.blocks:
                block.forward = functools.partial(recompute, block.forward, use_reentrant=False)

    @property
    def blocks(self) -> nn.ModuleList:
        """Decoder layers of the trunk."""
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
        """Value head's outputs for the rows to rank, and logits of the tokens to learn."""
        hidden_BLD = self.scorer.trunk(**self._inputs(batch))
        heads_RNJK = logits_TW = None
        rows = len(batch.response_end_RN)
        if rows:
            readout, ends = self.scorer.readout, batch.response_end_RN
            starts = batch.response_start_RN if self._needs_start else None
            heads = readout.outputs(gather_rows(hidden_BLD[:rows], readout.rows(ends, starts)), ends, starts)
            heads_RNJK = heads if readout.named else heads.unsqueeze(2)
        # A language head that is trained gets gradients of zero where this process has no text: others may have some.
        if len(batch.labels_T) or not rows or (self.language_head is not None and self.language_head.requires_grad):
            chosen_TD = hidden_BLD.flatten(0, 1)[batch.label_place_T]
            weight = self.scorer.embedding.weight if self.language_head is None else self.language_head
            logits_TW = F.linear(self.scorer.readout.norm[0](chosen_TD).to(weight.dtype), weight)
        return Outputs(heads_RNJK, logits_TW)

    @property
    def _needs_start(self) -> bool:
        return self.scorer.readout.needs_start

    def _inputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        features = self._features(batch)
        names = [name for name, (_, axes) in self.scorer_spec.inputs.items() if axes[-1] == "L"]
        inputs = {name: batch.tokens[name] for name in names} | features
        return inputs | ({"segment_ids": batch.tokens["segment_ids"]} if batch.isolated else {})

    def _features(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Rows of every feature output, [V, D]; one row of zeros where the batch shows no media."""
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
    """Adapters of a recipe, as ``adapter_config.json`` describes them."""
    return LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,  # type: ignore[arg-type]  (any number; peft declares int)
        lora_dropout=recipe.lora.dropout,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=list(targets),
    )


def open_base(recipe: Recipe) -> Checkpoint:
    """Build the base model of a recipe with a fresh value head, drawn from the recipe's seed.

    Raises:
        CheckpointError: the folder is not a base model that can be exported.
    """
    training = Training(recipe.hidden_state, recipe.video_expansion)
    outputs = 2 if recipe.objective == "joint" else 1
    return Checkpoint.open_base(
        Path(recipe.base), lambda hidden_size: fresh_head(recipe.head, hidden_size, outputs, recipe.seed), training
    )


def fresh_head(head: Head, hidden_size: int, outputs: int, seed: int) -> TrainedHead:
    """Value head before training; see `yoj.export.checkpoint.head.HeadShape.fresh`."""
    width, dimensions = hidden_size * READOUTS[head.readout].width, head.dimensions
    tensors = HeadShape(head.type, width, head.hidden, outputs, dimensions).fresh(head.init_std, seed)
    activation = head.activation if len(HEADS[head.type]) > 1 else None
    return TrainedHead(
        head.type,
        activation,
        head.readout,
        tensors,
        outputs,
        dimensions=dimensions,
        pooling=head.pooling,
        asks=() if head.token is None else asks_before(head.token, head.ask, dimensions),
    )


def _linear(projection: Projection) -> nn.Linear:
    """PyTorch's layer with the same matrix, which PEFT adapts."""
    width, out = projection.weight.shape
    linear = nn.Linear(width, out, bias=False, dtype=projection.weight.dtype)
    linear.weight = nn.Parameter(projection.weight.detach().t().contiguous(), requires_grad=False)
    return linear
