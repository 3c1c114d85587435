"""Truth about an edit in two dimensions, and the words that explain it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..shapes.scene import PLACES, Look
from ..shapes.words import NUMBERS, noun, sentence
from .drawing import Drawing
from .parts import Part

DIMENSIONS = ("instruction", "quality")
"""Dimensions of an edit: whether it follows the instruction, and whether all else stays as it was and looks right."""
BANDS = 4
"""Best band of a dimension; the worst is 1."""
QUALITY_OF_FLAW = {"light": 3, "heavy": 2}


class Grade(NamedTuple):
    """Grade of one edit."""

    instruction: int
    """Band of following: 4 all was done, 3 half of it, 2 something else was done where it was asked for, 1 nothing."""
    quality: int
    """Band of quality: 4 nothing else changed, 3 a light flaw or 2 a heavy one, two less for each other change."""
    label: str
    """Kind of the edit in a word or two."""

    @property
    def overall(self) -> int:
        """Sum of both bands; 8 is a right edit."""
        return self.instruction + self.quality


def grade(source: Drawing, parts: Sequence[Part], result: Drawing) -> Grade:
    """Grade an edit of a source, by any means, against the parts of its instruction."""
    changed, allowed = changes(source, result), allowed_places(source, parts, result)
    done = sum(part.done(source, result) for part in parts)
    following = BANDS if done == len(parts) else 3 if done else 2 if changed & asked_places(parts) else 1
    spoiled = len(changed - allowed)
    flawed = BANDS if result.flaw is None else QUALITY_OF_FLAW[result.flaw.strength]
    return Grade(following, max(1, flawed - 2 * spoiled), _label(following, spoiled, result, bool(changed)))


def changes(source: Drawing, result: Drawing) -> set[int]:
    """Places whose content differs."""
    return {place for place in range(len(PLACES)) if source.look(place) != result.look(place)}


def allowed_places(source: Drawing, parts: Sequence[Part], result: Drawing) -> set[int]:
    """Places in which the instruction lets the edit differ from the source."""
    return {place for part in parts for place in part.places(source, result)} | asked_places(parts)


def asked_places(parts: Sequence[Part]) -> set[int]:
    """Places that the instruction names; where it only counts there are none."""
    return {place for part in parts if part.counts is None for place, _ in part.content}


def describe(source: Drawing, result: Drawing) -> str:
    """Description of what changed where."""
    found = sorted(changes(source, result))
    told = [f"{PLACES[place]}: {_thing(source.look(place))} to {_thing(result.look(place))}" for place in found]
    return " ".join(map(sentence, told)) or "Nothing changed."


def rationale(source: Drawing, parts: Sequence[Part], result: Drawing) -> str:
    """Explanation of a grade: what changed, how much of the instruction is right, what else is false, both bands."""
    of = grade(source, parts, result)
    spoiled = [PLACES[place] for place in sorted(changes(source, result) - allowed_places(source, parts, result))]
    if result.flaw is not None:
        spoiled.append(f"{result.flaw.strength} specks in the {PLACES[result.flaw.place]}")
    asked = {BANDS: "all", 3: "half", 2: "wrong", 1: "no"}[of.instruction]
    bands = sentence(f"{NUMBERS[of.instruction]} and {NUMBERS[of.quality]}")
    false = " and ".join(spoiled) or "nothing"
    return f"{describe(source, result)} Right: {asked}. False: {false}. {bands}"


def _thing(look: Look | None) -> str:
    return "nothing" if look is None else noun(look)


def _label(following: int, spoiled: int, result: Drawing, changed: bool) -> str:
    if not changed:
        return "nothing done" if result.flaw is None else "nothing but flaws"
    if following == BANDS and not spoiled:
        return "right" if result.flaw is None else "right with flaws"
    if following == BANDS:
        return "right and damaged"
    if following == 3:
        return "half done"
    return "wrong attribute" if following == 2 else "wrong object"
