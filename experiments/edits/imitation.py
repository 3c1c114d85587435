"""Editors before any reward: they imitate edits, right and wrong, and one that corrects also reads what was wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .dataset import make_item
from .drawing import Drawing
from .editor import Editor, choices_of, draw_choices
from .grades import BANDS, rationale
from .items import EditItem

BATCH, LEARNING_RATE = 64, 2e-3
RIGHT = 0.6
"""Share of the lessons of a first editor that are right whatever the chance."""
TOLD = 0.5
"""Share of the lessons of a correcting editor that come with a rationale."""


@dataclass(frozen=True)
class Lesson:
    """Example of an edit."""

    item: EditItem
    result: Drawing
    """Edit to imitate."""
    feedback: str = ""
    """Text that was said of an edit before it."""


def edits_of_all_kinds(name: str, seed: int) -> Iterator[Lesson]:
    """Lessons of an editor that makes the mistakes of the task's edits: most are right, the others of any kind."""
    for index in range(1_000_000):
        item = make_item(name, seed, index)
        rng = random.Random(f"{name} {seed} {index}")
        yield Lesson(item, right_of(item) if rng.random() < RIGHT else rng.choice(item.results))


def corrections(name: str, seed: int, editor: Editor) -> Iterator[Lesson]:
    """Lessons of an editor that corrects: right edits, half of them after the rationale of a wrong edit of ``editor``.

    Args:
        name: name of the file of items.
        seed: its seed, and that of the wrong edits.
        editor: editor whose edits are corrected.
    """
    generator = torch.Generator().manual_seed(seed)
    for begin in range(0, 1_000_000, BATCH):
        items = [make_item(name, seed, index) for index in range(begin, begin + BATCH)]
        rng = random.Random(f"{name} {seed} {begin}")
        choices = editor.sample(editor.read(items), generator)
        for item, tried in zip(items, draw_choices([item.source for item in items], choices, rng), strict=True):
            told = rng.random() < TOLD
            yield Lesson(item, right_of(item), rationale(item.source, item.parts, tried) if told else "")


def imitate(editor: Editor, lessons: Iterator[Lesson], steps: int, note: Callable[[str], None]) -> Editor:
    """Train an editor on lessons, a batch of new ones each step; returns it."""
    optimizer = torch.optim.AdamW(editor.parameters(), LEARNING_RATE)
    for step in range(steps):
        batch = [next(lessons) for _ in range(BATCH)]
        loss = -_likelihood(editor, batch).mean()
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        torch.nn.utils.clip_grad_norm_(editor.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / steps)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 100 == 0:
            note(f"imitation, step {step + 1} of {steps}: {loss.item():.3f} nats an edit")
    return editor


def right_of(item: EditItem) -> Drawing:
    """The right edit of an item."""
    return next(one for one, of in zip(item.results, item.grades(), strict=True) if of.overall == 2 * BANDS)


def first_editor(tokenizer: Path, seed: int, steps: int, note: Callable[[str], None]) -> Editor:
    """Editor that a reward may teach: it has imitated edits of all kinds."""
    return imitate(Editor(tokenizer, seed), edits_of_all_kinds("editor", seed), steps, note)


def _likelihood(editor: Editor, batch: Sequence[Lesson]) -> torch.Tensor:
    items = [lesson.item for lesson in batch]
    asked = editor.read(items, [lesson.feedback for lesson in batch])
    return editor(asked).log_likelihood(choices_of([item.source for item in items], [one.result for one in batch]))
