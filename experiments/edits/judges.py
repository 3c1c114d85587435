"""Judges of edited pictures: data, base, and the judge that ships."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file

from yoj.export.checkpoint.head import SETTINGS
from yoj.training.checkpoints import COPIED, EVALUATION, HEAD, MODEL, copy_files, save_tensors

from ..small_judge import as_released, train
from .base import write_edits_base
from .dataset import write_changes, write_edits
from .items import MANY

RECIPE = "edits-judge"
SHIPPED = "edits-qwen3_vl"
ITEMS, HELD_OUT, LESSONS = 12_000, 1_000, 16_000
"""Numbers of items to train on and to measure with, and of lessons for the base."""
STEPS, SETTLED = 1500, 1000
"""Steps of the judge that ships: on packs of eight edits, and then of two to eight."""


def write_base(folder: Path, seed: int, note: Callable[[str], None]) -> None:
    """Write the data and train the base, which sees what an edit has changed; what is there is left as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [("train", partial(write_edits, n=MANY), ITEMS), ("held_out", write_edits, HELD_OUT)]
    files += [("changes", write_changes, LESSONS), ("changes_held_out", write_changes, HELD_OUT)]
    for name, write, items in files:
        if not (folder / f"{name}.jsonl").is_file():
            note(f"{folder / name}.jsonl: {items} lines")
            write(folder, name, items, seed, lambda _: None)
    if not (folder / "start").is_dir():
        write_edits_base(folder / "start")
    if not (folder / "base" / MODEL).is_file():
        as_released(train("edits-base", folder, [f"seed={seed}"], note), folder / "base")


def make(folder: Path, seed: int, note: Callable[[str], None]) -> None:
    """Train the judge that ships and put it into ``folder/edits-qwen3_vl``. What is already there is not redone.

    Args:
        folder: folder of the data, the base and the judge.
        seed: seed of data, weights and training.
        note: function that takes lines for a person.
    """
    write_base(folder, seed, note)
    first = train(RECIPE, folder, [f"max_steps={STEPS}", f"seed={seed}", "out=run-eight"], note)
    settled = [f"max_steps={SETTLED}", "n=[2,8]", "optimiser.learning_rate=1.0e-3", f"init_from={first.absolute()}"]
    judge = train(RECIPE, folder, [*settled, f"seed={seed}", "out=run-judge"], note)
    ship(judge, folder / SHIPPED)
    note(f"{folder / SHIPPED}: {(judge / EVALUATION).read_text('utf-8').strip()}")


def ship(judge: Path, out: Path) -> None:
    """Put what scoring needs of a checkpoint into one folder, the backbone in bfloat16."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    copy_files((*COPIED, "tokenizer.json", HEAD, SETTINGS), judge, out)
    tensors = {name: value.to(torch.bfloat16) for name, value in load_file(judge / MODEL).items()}
    save_tensors(tensors, out / MODEL)
