"""Optimizers of a run."""

from __future__ import annotations

import torch

from ._judge import Judge
from ._recipe import Optimiser


def make_optimizers(judge: Judge, settings: Optimiser) -> list[torch.optim.Optimizer]:
    """AdamW for every trained weight, or Muon for the matrices between embeddings and heads and AdamW for the others.

    Muon's steps are scaled to the size that AdamW's have, so one learning rate serves both (Liu et al., "Muon is
    scalable for LLM training", arXiv 2502.16982).
    """
    trained = [parameter for parameter in judge.parameters() if parameter.requires_grad]
    hidden = [p for name, p in judge.vision.named_parameters() if "embed" not in name]
    inside = {id(parameter) for parameter in (*hidden, *judge.blocks.parameters())}
    matrices = [p for p in trained if settings.kind == "muon" and p.dim() == 2 and id(p) in inside]
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in trained if id(parameter) not in chosen]
    adamw = torch.optim.AdamW(
        others, settings.learning_rate, settings.betas, weight_decay=settings.weight_decay
    )  # fmt: skip
    if not matrices:
        return [adamw]
    muon = torch.optim.Muon(
        matrices, settings.learning_rate, settings.weight_decay, adjust_lr_fn="match_rms_adamw"
    )  # fmt: skip
    return [adamw, muon]
