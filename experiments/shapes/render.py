"""Pictures of scenes."""

from __future__ import annotations

import functools
import random

import numpy as np
from PIL import Image, ImageDraw

from .scene import Look, Scene

SIDE = 64
HALF = SIDE // 2
RADII = {"small": 6, "large": 10}
PALETTE = {
    "red": (220, 40, 40),
    "green": (40, 165, 70),
    "blue": (50, 90, 230),
    "yellow": (240, 210, 40),
    "purple": (165, 60, 195),
    "white": (242, 242, 242),
}
# Stamps are drawn this many times larger, then averaged.
FINE = 8
# Of two overlapping shapes: the least visible part of the one behind, the least covered part of the smaller one, and
# the least height of one centre over the other in half pixels: what is nearer stands lower, as on a floor.
VISIBLE = 0.55
TOUCH = 0.1
HIGHER = 14
NOISE = 3
# Half pixels: a single shape stays well away from the borders between the places, so that its place is plain to see.
WANDER = 4

# A shape's centre in half pixels: whole numbers, so that a stamp exists for each of the four phases.
Spot = tuple[int, int]


@functools.cache
def stamp(form: str, size: str, phase: Spot) -> np.ndarray:
    """Coverage of one shape, float32 of shape (24, 24); its centre lies at 12 plus half of `phase` (0 or 1)."""
    radius, width = RADII[size], 2 * RADII["large"] + 4
    image = Image.new("L", (width * FINE, width * FINE))
    draw = ImageDraw.Draw(image)
    x, y = ((width + half) / 2 * FINE for half in phase)
    r = radius * FINE
    if form == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
    elif form == "square":
        a = 0.86 * r
        draw.rectangle((x - a, y - a, x + a, y + a), fill=255)
    elif form == "triangle":
        draw.polygon([(x, y - r), (x - r, y + 0.85 * r), (x + r, y + 0.85 * r)], fill=255)
    else:
        a = 0.32 * r
        draw.rectangle((x - r, y - a, x + r, y + a), fill=255)
        draw.rectangle((x - a, y - r, x + a, y + r), fill=255)
    fine = np.asarray(image, np.float32).reshape(width, FINE, width, FINE)
    return fine.mean((1, 3)) / 255


def coverage(look: Look, spot: Spot) -> np.ndarray:
    """Share of each pixel that a shape covers, float32 of shape (64, 64)."""
    mask = np.zeros((SIDE + 32, SIDE + 32), np.float32)
    part = stamp(look.form, look.size, (spot[0] % 2, spot[1] % 2))
    # A margin of 16 on each side takes what a stamp's empty border reaches outside the picture.
    x, y = spot[0] // 2 - len(part) // 2 + 16, spot[1] // 2 - len(part) // 2 + 16
    mask[y : y + len(part), x : x + len(part)] = part
    return mask[16:-16, 16:-16]


def draw_spot(rng: random.Random, look: Look, place: int, most: int) -> Spot:
    """Centre at which the shape stays inside its place, at most `most` half pixels off the place's centre."""
    reach = min(most, 2 * (HALF // 2 - RADII[look.size]) - 1)
    left, top = place % 2 * SIDE, place // 2 * SIDE
    return left + HALF + rng.randint(-reach, reach), top + HALF + rng.randint(-reach, reach)


@functools.cache
def _legible(front: Look, behind: Look, offset: Spot) -> bool:
    """Whether two shapes overlap and the one behind, `offset` half pixels away, can still be recognised."""
    if -offset[1] < HIGHER:
        return False
    above, below = coverage(front, (SIDE, SIDE)), coverage(behind, (SIDE + offset[0], SIDE + offset[1]))
    overlap, area = float((above * below).sum()), float(below.sum())
    return overlap >= TOUCH * min(area, float(above.sum())) and 1 - overlap / area >= VISIBLE


def draw_spots(rng: random.Random, looks: tuple[Look, ...], place: int) -> list[Spot]:
    """Centres for the shapes of one place, in half pixels of the picture."""
    if len(looks) < 2:
        return [draw_spot(rng, look, place, WANDER) for look in looks]
    # The colours do not matter to the overlap: without them far fewer cases are told apart.
    front, behind = (look._replace(colour="") for look in looks)
    for _ in range(10_000):
        (x0, y0), (x1, y1) = spots = [draw_spot(rng, look, place, HALF) for look in looks]
        if _legible(front, behind, (x1 - x0, y1 - y0)):
            return spots
    raise ValueError(f"found no way to lay {front} legibly over {behind}")


def render(scene: Scene, rng: random.Random) -> list[np.ndarray]:
    """Frames of a scene, each uint8 of shape (64, 64, 3); a picture has one.

    `rng` draws what no question asks about: where in its place a shape lies, its tint, the background.
    """
    drawn: list[tuple[Look, Spot, np.ndarray]] = []
    mover: int | None = None
    for number, looks in enumerate(scene.places):
        spots = draw_spots(rng, looks, number)
        for look, spot in reversed(list(zip(looks, spots, strict=True))):
            if scene.move is not None and scene.move.target == number:
                mover = len(drawn)
            tint = np.asarray(PALETTE[look.colour], np.float32) * rng.uniform(0.9, 1.04)
            drawn.append((look, spot, tint.astype(np.float32)))
    if scene.move is not None and mover is not None:
        # Drawn last, the moving shape passes in front of those that stand still.
        look, spot, tint = drawn.pop(mover)
        origin = draw_spot(rng, look, scene.move.origin, WANDER)
        shares = [step / (scene.frames - 1) for step in range(scene.frames)]
        ways = [tuple(round(a + (b - a) * share) for a, b in zip(origin, spot, strict=True)) for share in shares]
        stages = [[*drawn, (look, (way[0], way[1]), tint)] for way in ways]
    else:
        stages = [drawn] * scene.frames
    grey, noise = rng.uniform(25, 60), np.random.default_rng(rng.getrandbits(64))
    return [paint(stage, grey, noise) for stage in stages]


def paint(stage: list[tuple[Look, Spot, np.ndarray]], grey: float, noise: np.random.Generator) -> np.ndarray:
    """Paint shapes, the first one lowest, on grey with noise: uint8 of shape (64, 64, 3)."""
    picture = np.full((SIDE, SIDE, 3), grey, np.float32)
    for look, spot, tint in stage:
        share = coverage(look, spot)[:, :, None]
        picture += share * (tint - picture)
    picture += noise.integers(-NOISE, NOISE + 1, (SIDE, SIDE, 1), np.int8)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
