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

N, MANY = 4, 8
"""Numbers of edits of an item: of those to measure with, and of those to train on, from which fewer are drawn."""
SETS = {"either or both": 0.4, "one of three": 0.42, "with flaws": 0.18}
"""Kind of a set of edits -> its share; see `_few`."""
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


def draw_item(rng: random.Random, n: int = N) -> EditItem:
    """Item in which exactly one edit is right.

    Args:
        rng: source of every choice.
        n: number of edits, `N` or `MANY`.
    """
    while True:
        source = draw_source(rng)
        parts = _draw_parts(rng, source)
        if parts is None:
            continue
        edits, asked = _few(rng, source, parts) if n == N else _many(rng, source, parts)
        rng.shuffle(edits)
        item = EditItem(source, asked, tuple(edits))
        distinct = {(result.shapes, result.flaw) for result in edits}
        if len(distinct) == n and sum(one.overall == 2 * BANDS for one in item.grades()) == 1:
            return item


def _draw_parts(rng: random.Random, source: Drawing) -> tuple[Part, Part, Part] | None:
    """Two parts that concern different places, and another where one of them is; None where there is no room."""
    everywhere = set(range(len(PLACES)))
    first = _draw_edit_part(rng, source, everywhere)
    second = first and _draw_edit_part(rng, source, everywhere - _concerned(first))
    if first is None or second is None:
        return None
    third = _draw_edit_part(rng, source, _concerned(rng.choice((first, second))))
    return None if third is None else (first, second, third)


def _few(rng: random.Random, source: Drawing, parts: Sequence[Part]) -> tuple[list[Drawing], Edit]:
    """Four edits, and the instruction that one of them follows."""
    first, second, third = parts
    both = (first, second) if rng.random() < 0.5 else (second, first)
    kind = rng.choices(list(SETS), list(SETS.values()))[0]
    if kind == "either or both":
        # Neither, one, the other, both: each is one change from two of the others.
        edits = [_apply(source, edit) for edit in ((), (first,), (second,), both)]
        return edits, rng.choice(((first,), (second,), both))
    if kind == "with flaws":
        clean = [_apply(source, (part,)) for part in (first, second)]
        return [*clean, *(replace(edit, flaw=draw_flaw(rng)) for edit in clean)], rng.choice(((first,), (second,)))
    edits = [_apply(source, edit) for edit in ((first,), (second,), both, (third,))]
    return edits, rng.choice(((first,), (second,), both, (third,)))


def _many(rng: random.Random, source: Drawing, parts: Sequence[Part]) -> tuple[list[Drawing], Edit]:
    """Eight edits: everything that the parts can do together, with flaws as well; and what one clean edit follows."""
    first, second, third = parts
    both = (first, second) if rng.random() < 0.5 else (second, first)
    other = second if _concerned(third) & _concerned(first) else first
    ways: list[Edit] = [(first,), (second,), both, (third,)]
    if not _concerned(third) & _concerned(other):
        ways.append((third, other))
    edits = [_apply(source, edit) for edit in ((), *ways)]
    edits += [replace(rng.choice(edits), flaw=draw_flaw(rng)) for _ in range(MANY - len(edits))]
    return edits, rng.choice(ways)


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
