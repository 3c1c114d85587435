"""Recipe -> samples that can be trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from yoj.export.build import open_family

from .judge import open_base
from .recipe import Recipe
from .samples import Numbered, check_packs, read_samples, refuse
from .trainer import make_preparer


def load(recipe: Recipe, skip: bool, packs: bool, note: Callable[[str], None]) -> tuple[list[Numbered], list[Numbered]]:
    """Read and check the samples of a recipe.

    Args:
        recipe: names the files.
        skip: leave out what cannot be trained on, and say so.
        packs: read all media and pack every sample, as the training will.
        note: called with lines for a person.

    Returns:
        Samples to train on, and those held out.

    Raises:
        DataError: samples cannot be trained on.
        CheckpointError: the base model cannot be used.
    """
    checkpoint = open_base(recipe)
    preparer = make_preparer(checkpoint, open_family(checkpoint), recipe)
    found: list[list[Numbered]] = []
    for name in (recipe.data, recipe.held_out):
        if name is None:
            found.append([])
            continue
        file = Path(name)
        samples, problems = read_samples(file, ranked=recipe.objective != "language")
        if packs:
            with tqdm(total=len(samples), desc=f"check {file.name}", leave=False) as bar:
                problems += check_packs(samples, preparer, recipe, bar.update)
        refuse(problems, file, skip, note)
        wrong = {problem.line for problem in problems}
        found.append([numbered for numbered in samples if numbered.line not in wrong])
    return found[0], found[1]
