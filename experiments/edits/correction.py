"""Self-correction: an editor tries again after it has been told the judge's rationale of its edit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch

from yoj.runtime import Scorer

from ..any_n.results import Record
from .dataset import make_item
from .drawing import Drawing
from .editor import Editor, draw_choices
from .grades import rationale
from .imitation import corrections, imitate
from .items import EditItem
from .loop import request_of, truth

EVALUATED = 300
BELOW = (8, 7, 5)
"""Grades below which edits are corrected, each of which is measured."""
Told = Callable[[Sequence[EditItem], Sequence[Drawing]], list[str]]
"""Function from B items and an edit of each to what is said of it."""


def by_judge(scorer: Scorer) -> Told:
    """Rationales by a judge's language path."""

    def told(items: Sequence[EditItem], edits: Sequence[Drawing]) -> list[str]:
        pairs = zip(items, edits, strict=True)
        return [scorer.rationale(request_of(item, [edit]), 0).text for item, edit in pairs]

    return told


def by_truth(items: Sequence[EditItem], edits: Sequence[Drawing]) -> list[str]:
    """True rationales, the best that a judge could say."""
    return [rationale(item.source, item.parts, edit) for item, edit in zip(items, edits, strict=True)]


def nothing(items: Sequence[EditItem], _: Sequence[Drawing]) -> list[str]:
    """No rationales: what trying again is worth by itself."""
    return [""] * len(items)


def run(first: Editor, ways: dict[str, Told], seed: int, steps: int, note: Callable[[str], None]) -> Record:
    """Train an editor that corrects, and measure its second edits after each way of being told.

    Args:
        first: editor whose edits are corrected.
        ways: name -> what is said of a first edit.
        seed: seed of the correcting editor, of edits and of requests.
        steps: steps of the correcting editor's imitation.
        note: function that takes lines for a person.
    """
    second = imitate(Editor(first.tokenizer_file, seed), corrections("correct", seed, first), steps, note)
    items = [make_item("correct-held-out", seed, index) for index in range(EVALUATED)]
    edits = _edit(first, items, None, seed)
    before = truth(items, [[edit] for edit in edits])[:, 0]
    found: Record = {}
    for name, tell in ways.items():
        after = truth(items, [[edit] for edit in _edit(second, items, tell(items, edits), seed)])[:, 0]
        for limit in BELOW:
            bad = before < limit
            found[f"{name}, below {limit}"] = {
                "edits": int(bad.sum()),
                "before": float(before[bad].mean()),
                "change": float((after - before)[bad].mean()),
            }
        note(f"told by {name}: {np.mean(after[before < BELOW[0]]):.3f} after {np.mean(before[before < BELOW[0]]):.3f}")
    return found


def _edit(editor: Editor, items: Sequence[EditItem], feedback: list[str] | None, seed: int) -> list[Drawing]:
    choices = editor.sample(editor.read(items, feedback), torch.Generator().manual_seed(seed))
    return draw_choices([item.source for item in items], choices, random.Random(f"correct {seed}"))
