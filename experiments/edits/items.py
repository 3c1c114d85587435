"""Items: a source, four edits of it, and an instruction that one of them is the right answer to.

The edits are drawn before the instruction, and the instruction is then chosen among those that one of the edits
follows. Which edit is right can therefore be told neither from the edits alone, of which none is the middle of the
others, nor from the source and the edits without the instruction.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..shapes.scene import PLACES
from ..shapes.words import sentence
from .drawing import Drawing, draw_flaw, draw_source
from .grades import BANDS, Grade, grade, rationale
from .parts import KINDS, Part, draw_part

N = 4
SETS = {"either or both": 0.4, "one of three": 0.42, "with flaws": 0.18}
"""Kind of a set of edits -> its share; see `_edits`."""
COMPOSED = "composition"
FREQUENCIES = {"recolour": 3, "resize": 3, "move": 4, "swap": 4, "count": 3, "remove": 1, "add": 1}
"""Frequencies of the kinds of parts: those that say how the picture ends are the rarest."""

Edit = tuple[Part, ...]


@dataclass(frozen=True)
class EditItem:
    """Item before it is written."""

    source: Drawing
    parts: Edit
    """Parts of the instruction."""
    results: tuple[Drawing, ...]
    """[N] edited pictures."""

    @property
    def kind(self) -> str:
        """Kind of the instruction: that of its one part, or a composition."""
        return self.parts[0].kind if len(self.parts) == 1 else COMPOSED

    @property
    def instruction(self) -> str:
        """Instruction in words."""
        return instruct(self.parts)

    def grades(self) -> list[Grade]:
        """[N] truth."""
        return [grade(self.source, self.parts, result) for result in self.results]

    def rationales(self) -> list[str]:
        """[N] explanation of each grade."""
        return [rationale(self.source, self.parts, result) for result in self.results]


def instruct(parts: Sequence[Part]) -> str:
    """Instruction of these parts in words."""
    return sentence(" and ".join(part.words for part in parts))


def draw_item(rng: random.Random) -> EditItem:
    """Item in which exactly one edit is right."""
    while True:
        source = draw_source(rng)
        found = _draw_edits(rng, source)
        if found is None:
            continue
        edits, asked = found
        item = EditItem(source, asked, tuple(edits))
        grades = item.grades()
        distinct = {(result.shapes, result.flaw) for result in edits}
        if len(distinct) == N and sum(one.overall == 2 * BANDS for one in grades) == 1:
            return item


def _draw_edits(rng: random.Random, source: Drawing) -> tuple[list[Drawing], Edit] | None:
    """Four edits in random order, and the instruction that one of them follows."""
    first = _draw_edit_part(rng, source, set(range(len(PLACES))))
    if first is None:
        return None
    second = _draw_edit_part(rng, source, set(range(len(PLACES))) - _concerned(first))
    if second is None:
        return None
    both = (first, second) if rng.random() < 0.5 else (second, first)
    kind = rng.choices(list(SETS), list(SETS.values()))[0]
    if kind == "either or both":
        # Neither, one, the other, both: each is one change from two of the others.
        asked = rng.choice(((first,), (second,), both))
        edits = [_apply(source, edit) for edit in ((), (first,), (second,), both)]
    elif kind == "with flaws":
        asked = rng.choice(((first,), (second,)))
        clean = [_apply(source, (part,)) for part in (first, second)]
        edits = [*clean, *(replace(edit, flaw=draw_flaw(rng)) for edit in clean)]
    else:
        third = _draw_edit_part(rng, source, _concerned(rng.choice((first, second))))
        if third is None:
            return None
        asked = rng.choice(((first,), (second,), both, (third,)))
        edits = [_apply(source, edit) for edit in ((first,), (second,), both, (third,))]
    rng.shuffle(edits)
    return edits, asked


def _draw_edit_part(rng: random.Random, source: Drawing, free: set[int]) -> Part | None:
    # A weighted order: the first kind for which the source has room is taken.
    order = sorted(KINDS, key=lambda kind: rng.random() ** (1 / FREQUENCIES[kind]), reverse=True)
    return next((part for kind in order if (part := draw_part(rng, source, kind, free)) is not None), None)


def _concerned(part: Part) -> set[int]:
    return {place for place, _ in part.content}


def _apply(source: Drawing, edit: Edit) -> Drawing:
    for part in edit:
        source = part.apply(source)
    return source
