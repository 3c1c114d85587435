"""Recipe -> samples that can be trained on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from yoj.export.families.opening import open_family

from ._errors import DataError
from ._facts import tell_bare
from ._feed import steps_in_epoch
from ._judge import open_base
from ._preparer import BudgetedPreparer, make_preparer
from ._processes import gather, place
from ._rankings import Needs
from ._recipe import Recipe, learns_language, ranks
from .checkpoints import require_same_reading
from .samples import NumberedSample, Problem, Shrunk, check_packs, read_samples, refuse, tell_shrunk

LOGGED_EVERY = 30.0
"""Seconds between the lines of progress where no one watches."""


def load_samples(
    recipe: Recipe, skip: bool, packs: bool, note: Callable[[str], None]
) -> tuple[list[NumberedSample], list[NumberedSample]]:
    """Read and check the samples of a recipe; several processes share the work and come to the same samples.

    Args:
        recipe: recipe, which names the files.
        skip: whether samples that cannot be trained on are left out, which is said.
        packs: whether all media are read and every sample is packed, as the training will.
        note: function that takes lines for a person.

    Returns:
        Samples to train on, and those held out.

    Raises:
        DataError: samples cannot be trained on, or give less than one step.
        CheckpointError: the base model cannot be used, where samples are packed.
    """
    preparer = open_preparer(recipe) if packs else None
    found: list[list[NumberedSample]] = []
    for name, evaluated in ((recipe.data, False), (recipe.held_out, True)):
        if name is None:
            found.append([])
            continue
        file = Path(name)
        root = None if recipe.media_root is None else Path(recipe.media_root)
        needs = Needs(ranks(recipe), recipe.head.dimensions, evaluated)
        samples, problems = read_samples(file, needs, root, recipe.ignore_fields)
        told = note if place().rank == 0 else _ignore
        if preparer is not None:
            found_here = _check_share(samples, preparer, recipe, file.name)
            problems += [one for one in found_here if isinstance(one, Problem)]
            tell_shrunk([one for one in found_here if isinstance(one, Shrunk)], file, told)
        try:
            refuse(problems, file, skip, told)
        except DataError:
            if place().rank == 0:
                raise
            raise DataError(f"{file}: see what the first process says of it.") from None
        wrong = {problem.line for problem in problems}
        found.append([numbered for numbered in samples if numbered.line not in wrong])
        if not found[-1]:
            raise DataError(f"{file} holds no samples{' that can be used' if wrong else ''}. Give at least one.")
    if place().rank == 0:
        tell_seen(found[0], found[1], recipe, note)
        tell_unused(found[0], recipe, note)
        tell_bare(found[0], note)
    check_texts(found[0], recipe, note if place().rank == 0 else _ignore)
    steps_in_epoch(len(found[0]), recipe, place().processes)
    return found[0], found[1]


def tell_seen(
    samples: Sequence[NumberedSample],
    held_out: Sequence[NumberedSample],
    recipe: Recipe,
    note: Callable[[str], None],
) -> None:
    """Report held-out samples that are trained on too: of one prompt, responses and names of media."""
    lines = {_asked(one): one.line for one in reversed(samples)}
    if seen := [(one.line, lines[asked]) for one in held_out if (asked := _asked(one)) in lines]:
        (line, trained), number = seen[0], len(seen)
        note(
            f"warning: {number:,} of the {len(held_out):,} held-out samples are trained on too (line {line} of "
            f"{recipe.held_out} is line {trained} of {recipe.data}), so that their accuracy says little. Take them out "
            "of one of the files."
        )


def _asked(numbered: NumberedSample) -> bytes:
    one = numbered.sample
    return msgspec.json.encode((one.prompt, sorted(map(repr, one.responses)), one.image, one.video))


def check_beginning(recipe: Recipe) -> None:
    """Check the checkpoint with whose weights a run is to begin, without loading them.

    Raises:
        TrainingError: it was trained with another head or other adapters; see `checkpoints.require_same_reading`.
        CheckpointError: the base model cannot be used.
    """
    if recipe.init_from is not None:
        require_same_reading(Path(recipe.init_from), open_base(recipe).head, recipe)


def tell_unused(samples: Sequence[NumberedSample], recipe: Recipe, note: Callable[[str], None]) -> None:
    """Report fields of the samples that a recipe does not learn."""
    why = {
        "rationales": None
        if learns_language(recipe)
        else f"objective {recipe.objective} learns no language"
        if recipe.objective != "joint"
        else "language_share is 0",
        "dimension_rankings": None if recipe.head.dimensions else "head.dimensions names none",
    }
    for name, reason in why.items():
        count = sum(getattr(numbered.sample, name) is not None for numbered in samples)
        if count and reason is not None:
            note(f"{recipe.data}: {name} of {count:,} samples are not learnt, since {reason}.")


def check_texts(samples: Sequence[NumberedSample], recipe: Recipe, note: Callable[[str], None]) -> None:
    """Report samples that teach the language path nothing.

    Raises:
        DataError: none teaches it anything.
    """
    silent = [numbered.line for numbered in samples if not numbered.has_text]
    if not silent or not learns_language(recipe):
        return
    give = "rationales, responses as texts, or language with a target"
    if len(silent) == len(samples):
        raise DataError(f"{recipe.data} holds no text to learn. Give {give}, or set language_share to 0.")
    note(
        f"{recipe.data}: {len(silent):,} of {len(samples):,} samples have no text to learn ({give}), line {silent[0]} "
        "among them; their rankings are learnt."
    )


def open_preparer(recipe: Recipe) -> BudgetedPreparer:
    """Packing of a recipe's base model, without its weights.

    Raises:
        CheckpointError: the base model cannot be used.
    """
    checkpoint = open_base(recipe)
    return make_preparer(checkpoint, open_family(checkpoint), recipe)


def _check_share(
    samples: Sequence[NumberedSample], preparer: BudgetedPreparer, recipe: Recipe, name: str
) -> list[Problem | Shrunk]:
    """Reports on all samples; each process reads its part of them."""
    here = place()
    mine = samples[here.rank :: here.processes]
    often = 0.1 if sys.stderr.isatty() else LOGGED_EVERY
    with tqdm(total=len(mine), desc=f"check {name}", leave=False, mininterval=often, disable=here.rank > 0) as bar:
        return gather(list(check_packs(mine, preparer, recipe, lambda count: _advance(bar, count))))


def _ignore(text: str) -> None:
    del text


def _advance(bar: tqdm[Any], count: int) -> None:
    bar.update(count)
