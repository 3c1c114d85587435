"""Drawings: an edit moves no pixel that it does not say."""

from __future__ import annotations

import random

import numpy as np
import pytest

from experiments.edits.dataset import make_item
from experiments.edits.drawing import FLAWS, Drawing, Flaw, draw_source
from experiments.shapes.render import HALF, SIDE

DRAWN = [draw_source(random.Random(seed)) for seed in range(40)]


def _quarter(pixels: np.ndarray, place: int) -> np.ndarray:
    return pixels[place // 2 * HALF :, place % 2 * HALF :][:HALF, :HALF]


@pytest.mark.parametrize("drawing", DRAWN[:10])
def test_emptying_a_place_leaves_the_others_as_they_were(drawing: Drawing) -> None:
    place = drawing.taken()[0]
    before, after = drawing.pixels(), drawing.put(place, None).pixels()
    assert before.shape == after.shape == (SIDE, SIDE, 3)
    assert not np.array_equal(_quarter(before, place), _quarter(after, place))
    for other in {0, 1, 2, 3} - {place}:
        assert np.array_equal(_quarter(before, other), _quarter(after, other))


@pytest.mark.parametrize("strength", FLAWS)
def test_a_flaw_stays_in_its_place(strength: str) -> None:
    flawed = Drawing(DRAWN[0].shapes, DRAWN[0].grey, DRAWN[0].noise, Flaw(2, strength, 5))
    before, after = DRAWN[0].pixels(), flawed.pixels()
    differ = [not np.array_equal(_quarter(before, place), _quarter(after, place)) for place in range(4)]
    assert differ == [False, False, True, False]


def test_no_two_shapes_of_a_source_have_the_same_colour_and_form() -> None:
    for drawing in DRAWN:
        looks = [look for place in drawing.taken() if (look := drawing.look(place)) is not None]
        assert len({look[1:] for look in looks}) == len(looks) >= 2


def test_an_item_draws_the_same_pictures_again() -> None:
    first, second = (make_item("test", 0, 5) for _ in range(2))
    assert all(np.array_equal(a.pixels(), b.pixels()) for a, b in zip(first.results, second.results, strict=True))
