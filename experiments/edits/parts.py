"""Parts of an instruction: what is asked for, in words, and whether an edit has done it.

Most parts are relative: they say how the picture changes and not how it ends ("Change the size of the circle."), so
that what is right can be told from neither the edited pictures nor the source alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ..shapes.scene import COLOURS, PLACES, SIZES, draw_unlike
from ..shapes.words import noun
from .drawing import Drawing, Shape, draw_shape

T = TypeVar("T")
OPPOSITES = {"red": "green", "green": "red", "blue": "yellow", "yellow": "blue", "purple": "white", "white": "purple"}
"""Colour -> the one that "the opposite colour" means."""
EXPLICIT = 0.15
"""Probability that a part which can be relative says how the picture ends."""


@dataclass(frozen=True)
class Part:
    """One thing that an instruction asks for."""

    kind: str
    words: str
    """Request without capital and full stop."""
    content: tuple[tuple[int, Shape | None], ...]
    """Places that it concerns, and what they hold afterwards."""
    counts: tuple[str, int] | None = None
    """Form and change of its number, where any shape of the form in any place will do."""

    def apply(self, drawing: Drawing) -> Drawing:
        """Drawing with the part done."""
        for place, shape in self.content:
            drawing = drawing.put(place, shape)
        return drawing

    def places(self, source: Drawing, result: Drawing) -> set[int]:
        """Places in which it lets an edit differ from the source."""
        if self.counts is None:
            return {place for place, _ in self.content}
        form, change = self.counts
        for place in range(len(PLACES)):
            before, after = source.look(place), result.look(place)
            more, fewer = (after, before) if change > 0 else (before, after)
            if fewer is None and more is not None and more.form == form:
                return {place}
        return set()

    def done(self, source: Drawing, result: Drawing) -> bool:
        """Whether an edit has done it, whatever else it did."""
        if self.counts is not None:
            return bool(self.places(source, result))
        return all(result.look(place) == (shape and shape.look) for place, shape in self.content)


def draw_part(rng: random.Random, source: Drawing, kind: str, free: set[int]) -> Part | None:
    """Part of a kind that concerns only places in ``free``; None where the source has no room for it."""
    return KINDS[kind](rng, source, free)


def _recolour(rng: random.Random, source: Drawing, free: set[int]) -> Part | None:
    place = _pick(rng, [place for place in source.taken() if place in free])
    if place is None:
        return None
    shape = source.shapes[place]
    assert shape is not None
    old = shape.look
    if rng.random() < EXPLICIT:
        colour = rng.choice([colour for colour in COLOURS if colour != old.colour])
        words = f"make the {_name(rng, source, place)} {colour}"
    else:
        colour = OPPOSITES[old.colour]
        words = f"turn the {_name(rng, source, place, without='colour')} to the opposite colour"
    return Part("recolour", words, ((place, shape._replace(look=old._replace(colour=colour))),))


def _resize(rng: random.Random, source: Drawing, free: set[int]) -> Part | None:
    place = _pick(rng, [place for place in source.taken() if place in free])
    if place is None:
        return None
    shape = source.shapes[place]
    assert shape is not None
    size = next(size for size in SIZES if size != shape.look.size)
    name = _name(rng, source, place)
    words = f"make the {name} {size}" if rng.random() < EXPLICIT else f"change the size of the {name}"
    return Part("resize", words, ((place, shape._replace(look=shape.look._replace(size=size))),))


def _move(rng: random.Random, source: Drawing, free: set[int]) -> Part | None:
    ways = [(1, "to the other side"), (2, "to the other row")]
    empty = set(source.empty()) & free
    found = [
        (place, place ^ bit, way) for place in source.taken() if place in free for bit, way in ways
        if place ^ bit in empty
    ]  # fmt: skip
    chosen = _pick(rng, found)
    if chosen is None:
        return None
    place, target, way = chosen
    if rng.random() < EXPLICIT:
        words = f"move the {_name(rng, source, place)} to the {PLACES[target]}"
    else:
        words = f"move the {_name(rng, source, place, without='place')} {way}"
    return Part("move", words, ((place, None), (target, source.shapes[place])))


def _swap(rng: random.Random, source: Drawing, free: set[int]) -> Part | None:
    taken = [place for place in source.taken() if place in free]
    if len(taken) < 2:
        return None
    first, second = rng.sample(taken, 2)
    names = [_name(rng, source, place, without="place") for place in (first, second)]
    words = f"swap the {names[0]} and the {names[1]}"
    return Part("swap", words, ((first, source.shapes[second]), (second, source.shapes[first])))


def _remove(rng: random.Random, source: Drawing, free: set[int]) -> Part | None:
    place = _pick(rng, [place for place in source.taken() if place in free])
    return None if place is None else Part("remove", f"remove the {_name(rng, source, place)}", ((place, None),))


def _add(rng: random.Random, source: Drawing, free: set[int]) -> Part | None:
    place = _pick(rng, [place for place in source.empty() if place in free])
    if place is None:
        return None
    shape = _new(rng, source)
    return Part("add", f"add a {noun(shape.look)} in the {PLACES[place]}", ((place, shape),))


def _count(rng: random.Random, source: Drawing, free: set[int]) -> Part | None:
    more = rng.random() < 0.5
    place = _pick(rng, [place for place in (source.empty() if more else source.taken()) if place in free])
    if place is None:
        return None
    if more:
        shape = _new(rng, source)
        return Part("count", f"one {shape.look.form} more", ((place, shape),), (shape.look.form, 1))
    look = source.look(place)
    assert look is not None
    return Part("count", f"one {look.form} fewer", ((place, None),), (look.form, -1))


KINDS: dict[str, Callable[[random.Random, Drawing, set[int]], Part | None]] = {
    "recolour": _recolour,
    "resize": _resize,
    "move": _move,
    "swap": _swap,
    "remove": _remove,
    "add": _add,
    "count": _count,
}
"""Kind of a part -> how it is drawn."""


def _new(rng: random.Random, source: Drawing) -> Shape:
    looks = [look for place in source.taken() if (look := source.look(place)) is not None]
    return draw_shape(rng, draw_unlike(rng, looks))


def _name(rng: random.Random, source: Drawing, place: int, without: str = "") -> str:
    """Words that mean one shape of the source, not by the attribute that must not be told."""
    names = list(_names(source, place, without))
    return rng.choice(names)


def _names(source: Drawing, place: int, without: str) -> Iterator[str]:
    look = source.look(place)
    assert look is not None
    others = [other for number in source.taken() if number != place and (other := source.look(number)) is not None]
    if all(other.form != look.form for other in others):
        yield look.form
    if without != "colour" and all(other.colour != look.colour for other in others):
        yield f"{look.colour} shape"
    if without != "colour":
        yield f"{look.colour} {look.form}"
    if without != "place":
        yield f"shape in the {PLACES[place]}"


def _pick(rng: random.Random, values: list[T]) -> T | None:
    return rng.choice(values) if values else None
