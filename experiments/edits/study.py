"""Arms of the study: how much of the loss is language, and what that does to the judge."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from yoj.runtime.machine import instruction_sets
from yoj.training import Trainer, evaluate
from yoj.training.evaluation import figures_by_kind

from ..any_n.results import Record, Results
from ..small_judge import run_recipe
from .judges import RECIPE

SHARES = (0.0, 0.3, 0.5, 0.7, 0.9)
"""Shares a of the language loss."""
SEEDS = (0, 1, 2)


def study(folder: Path, share: float, seed: int, steps: int, file: Path, note: Callable[[str], None]) -> None:
    """Train one arm and add its figures to a file, unless they are there.

    Args:
        folder: folder of the data, in which the arm is trained.
        share: share a of the language loss.
        seed: seed of the head, the order of the items and the text that is learnt of each.
        steps: number of steps.
        file: file of results.
        note: function that takes lines for a person.
    """
    about = {"steps": steps, "instruction_sets": list(instruction_sets())}

    def make() -> Record:
        out = folder / f"arm-{share:g}-{seed}"
        changes = [f"out={out.name}", f"language_share={share:g}", f"seed={seed}", f"max_steps={steps}"]
        return measure(run_recipe(RECIPE, folder, changes, note))

    Results(file, about).add({"share": share, "seed": seed}, make)


def measure(trainer: Trainer) -> dict[str, Any]:
    """Figures of a trained judge on its held-out items."""
    judge, samples = trainer.judge.eval(), trainer.held_out
    read: list[NDArray[np.float32]] = []
    head: torch.nn.Module = judge.scorer.readout.value_head
    hook = head.register_forward_pre_hook(lambda _, given: read.append(given[0].flatten(0, 1).numpy()))
    report = evaluate(judge, trainer.preparer, samples, head=trainer.recipe.head)
    hook.remove()
    kinds = figures_by_kind(report, samples)
    return {
        "best_of_4": kinds["all"].best_of_n,
        "pairwise": {name: found.pairwise for name, found in kinds["all"].dimensions.items()},
        "kinds": {
            kind: {"best_of_4": found.best_of_n} | {name: of.pairwise for name, of in found.dimensions.items()}
            for kind, found in kinds.items()
            if kind != "all"
        },
        "effective_rank": effective_rank(np.concatenate(read)),
        "width": trainer.judge.hidden_size,
    }


def effective_rank(states_SD: NDArray[np.float32]) -> float:
    """Effective rank of representations: exp of the entropy of the squared singular values' shares (JRM, section 5).

    Args:
        states_SD: hidden states that the head reads, float32 [S, D].

    Returns:
        Number from 1 to D.
    """
    values = torch.linalg.svdvals(torch.from_numpy(states_SD.astype(np.float64)))
    shares = (values**2 / (values**2).sum()).clamp(min=1e-300)
    return math.exp(-float((shares * shares.log()).sum()))
