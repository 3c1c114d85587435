"""Scenes: which shapes lie in which of the four places, and which of them moves."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
FORMS = ("circle", "square", "triangle", "cross")
PLACES = ("top left", "top right", "bottom left", "bottom right")
ATTRIBUTES = {"size": SIZES, "colour": COLOURS, "form": FORMS}


class Look(NamedTuple):
    """Look of one shape."""

    size: str
    colour: str
    form: str


class Description(NamedTuple):
    """Description of a shape; an attribute that is None is not mentioned."""

    size: str | None = None
    colour: str | None = None
    form: str | None = None

    def hits(self, look: Look) -> int:
        """Number of the mentioned attributes that are true of `look`."""
        return sum(said == real for said, real in zip(self, look, strict=True) if said is not None)

    def named(self) -> int:
        """Number of mentioned attributes."""
        return sum(said is not None for said in self)

    def fits(self, look: Look) -> bool:
        """Whether every mentioned attribute is true of `look`."""
        return self.hits(look) == self.named()


Place = tuple[Look, ...]


class Move(NamedTuple):
    """Move of a shape from one place to another, both as indices into `PLACES`."""

    origin: int
    target: int


@dataclass(frozen=True)
class Scene:
    """Scene: the four places in the order of `PLACES`, each with up to two shapes, the front one first.

    For a video (`frames` > 1) this is the last frame, and `move` says which shape came from where, if any did.
    """

    places: tuple[Place, ...]
    frames: int = 1
    move: Move | None = None

    def looks(self) -> list[Look]:
        """Shapes of the scene, from all places."""
        return [look for place in self.places for look in place]


def draw_look(rng: random.Random, description: Description | None = None) -> Look:
    """Shape for which `description` is true; what it leaves open is uniform."""
    said = description or Description()
    size, colour, form = (value or rng.choice(values) for value, values in zip(said, ATTRIBUTES.values(), strict=True))
    return Look(size, colour, form)


def draw_place(
    rng: random.Random, pool: Sequence[Description] = (), shares: tuple[float, float] = (0.25, 0.15)
) -> Place:
    """Content of a place: nothing, one shape or an overlapping pair.

    Half of the shapes are taken from `pool`, the answers of a question, so that looking at the right place matters.
    `shares` are the probabilities of an empty place and of a pair.
    """
    empty, pair = shares
    fate = rng.random()
    if fate < empty:
        return ()
    front = draw_look(rng, rng.choice(pool) if pool and rng.random() < 0.5 else None)
    return (front,) if fate < 1 - pair else (front, draw_partner(rng, front))


def draw_partner(rng: random.Random, look: Look, description: Description | None = None) -> Look:
    """Shape to overlap with `look`: of another colour, for the two could not be told apart otherwise."""
    while (partner := draw_look(rng, description)).colour == look.colour:
        pass
    return partner


def draw_scene(rng: random.Random) -> Scene:
    """Picture about which nothing is asked."""
    return Scene(tuple(draw_place(rng, shares=(0.2, 0.3)) for _ in PLACES))


def draw_moving_scene(rng: random.Random) -> Scene:
    """Video in which one shape moves and up to two others stand still."""
    origin, target, *rest = rng.sample(range(4), 4)
    places: list[Place] = [()] * 4
    mover = draw_look(rng)
    places[target] = (mover,)
    for place in rest:
        if rng.random() < 0.7:
            places[place] = (draw_unlike(rng, [look for placed in places for look in placed]),)
    return Scene(tuple(places), rng.randint(2, 4), Move(origin, target))


def draw_unlike(rng: random.Random, others: Sequence[Look], description: Description | None = None) -> Look:
    """Shape that shares colour and form together with none of `others`: "the red circle" then names one."""
    for _ in range(1000):
        look = draw_look(rng, description)
        if all(look[1:] != other[1:] for other in others):
            return look
    raise ValueError(f"no shape fits {description} and differs from {others}")
