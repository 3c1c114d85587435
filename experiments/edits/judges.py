"""Judges of edited pictures: data, base, and one run of the recipe."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from yoj.training import Trainer, load_samples, read_recipe

from .base import write_edits_base
from .dataset import write_edits

RECIPE = Path(__file__).parents[1] / "recipes" / "edits-judge.yaml"
ITEMS, HELD_OUT = 20_000, 1_000
"""Numbers of items to train on and to measure with."""


def write_data(folder: Path, seed: int, note: Callable[[str], None]) -> None:
    """Write items and base; what is there already is left as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, items in (("train", ITEMS), ("held_out", HELD_OUT)):
        if not (folder / f"{name}.jsonl").is_file():
            note(f"{folder / name}.jsonl: {items} items")
            write_edits(folder, name, items, seed, lambda _: None)
    if not (folder / "base").is_dir():
        write_edits_base(folder / "base")


def train(folder: Path, changes: list[str], note: Callable[[str], None]) -> Trainer:
    """Run the recipe in a folder of data, with some settings changed; returns the trainer with the trained judge."""
    recipe_file = folder / RECIPE.name
    shutil.copyfile(RECIPE, recipe_file)
    recipe = read_recipe(recipe_file, changes)
    samples, held_out = load_samples(recipe, skip=False, packs=False, note=note)
    trainer = Trainer(recipe, samples, held_out)
    trainer.run(note)
    return trainer
