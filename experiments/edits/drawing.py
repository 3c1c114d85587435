"""Pictures that can be edited: at most one shape in each of four places, with everything that is drawn held fixed.

An edit changes what it says and nothing else: shapes that stay keep their spot and tint to the pixel, and background
and noise are those of the source.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..shapes.render import HALF, PALETTE, SIDE, Spot, draw_spot, paint
from ..shapes.scene import PLACES, Look, draw_unlike

WANDER = 3
"""Half pixels by which a shape lies off the centre of its place: large ones still have room."""
FLAWS = {"light": 5, "heavy": 14}
"""Strength of a flaw -> number of its specks."""
SPECK = 3
"""Side of a speck in pixels."""


class Shape(NamedTuple):
    """Shape of a drawing."""

    look: Look
    offset: Spot
    """Half pixels from the centre of its place."""
    tint: float
    """Factor of its colour."""


class Flaw(NamedTuple):
    """Specks over one place, which no instruction asks for."""

    place: int
    strength: str
    seed: int


@dataclass(frozen=True)
class Drawing:
    """Picture as what is drawn in it."""

    shapes: tuple[Shape | None, ...]
    """Shape of each of the four places; None for an empty one."""
    grey: float
    """Level of the background."""
    noise: int
    """Seed of the noise."""
    flaw: Flaw | None = None

    def look(self, place: int) -> Look | None:
        """Look of the shape in a place."""
        shape = self.shapes[place]
        return None if shape is None else shape.look

    def taken(self) -> list[int]:
        """Places with a shape."""
        return [place for place, shape in enumerate(self.shapes) if shape is not None]

    def empty(self) -> list[int]:
        """Places without one."""
        return [place for place, shape in enumerate(self.shapes) if shape is None]

    def put(self, place: int, shape: Shape | None) -> Drawing:
        """Copy with another content of one place."""
        return replace(self, shapes=(*self.shapes[:place], shape, *self.shapes[place + 1 :]))

    def pixels(self) -> np.ndarray:
        """Picture, uint8 of shape (64, 64, 3)."""
        stage = [
            (shape.look, _spot(place, shape), np.asarray(PALETTE[shape.look.colour], np.float32) * shape.tint)
            for place, shape in enumerate(self.shapes)
            if shape is not None
        ]
        picture = paint(stage, self.grey, np.random.default_rng(self.noise))
        if self.flaw is not None:
            _speckle(picture, self.flaw)
        return picture


def draw_shape(rng: random.Random, look: Look) -> Shape:
    """Shape of this look somewhere in its place."""
    x, y = draw_spot(rng, look._replace(size="large"), 0, WANDER)
    return Shape(look, (x - HALF, y - HALF), rng.uniform(0.9, 1.04))


def draw_source(rng: random.Random) -> Drawing:
    """Source picture: two to four shapes, no two of the same colour and form."""
    count = rng.choices((2, 3, 4), (3, 4, 1))[0]
    shapes: list[Shape | None] = [None] * len(PLACES)
    looks: list[Look] = []
    for place in rng.sample(range(len(PLACES)), count):
        looks.append(draw_unlike(rng, looks))
        shapes[place] = draw_shape(rng, looks[-1])
    return Drawing(tuple(shapes), rng.uniform(25, 60), rng.getrandbits(64))


def draw_flaw(rng: random.Random) -> Flaw:
    """Flaw somewhere in the picture."""
    return Flaw(rng.randrange(len(PLACES)), rng.choice(list(FLAWS)), rng.getrandbits(64))


def _spot(place: int, shape: Shape) -> Spot:
    return place % 2 * SIDE + HALF + shape.offset[0], place // 2 * SIDE + HALF + shape.offset[1]


def _speckle(picture: np.ndarray, flaw: Flaw) -> None:
    draw = np.random.default_rng(flaw.seed)
    left, top = flaw.place % 2 * HALF, flaw.place // 2 * HALF
    for x, y, colour in zip(
        draw.integers(left, left + HALF - SPECK, FLAWS[flaw.strength]),
        draw.integers(top, top + HALF - SPECK, FLAWS[flaw.strength]),
        draw.integers(0, 256, (FLAWS[flaw.strength], 3)),
        strict=True,
    ):
        picture[y : y + SPECK, x : x + SPECK] = colour
