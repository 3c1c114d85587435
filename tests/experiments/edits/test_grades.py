"""Grades of edits by hand, and the words that explain them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.edits.drawing import Drawing, Flaw, Shape
from experiments.edits.grades import grade, rationale
from experiments.edits.parts import Part
from experiments.shapes.scene import Look

RED, BLUE = Look("small", "red", "circle"), Look("large", "blue", "square")
SOURCE = Drawing((Shape(RED, (0, 0), 1.0), Shape(BLUE, (0, 0), 1.0), None, None), 40.0, 1)
GREEN = Shape(RED._replace(colour="green"), (0, 0), 1.0)
RECOLOUR = Part("recolour", "turn the circle to the opposite colour", ((0, GREEN),))
REMOVE = Part("remove", "remove the blue square", ((1, None),))
MORE = Part("count", "one circle more", ((2, GREEN),), ("circle", 1))
RIGHT = RECOLOUR.apply(SOURCE)

GRADED = [
    ("right", (RECOLOUR,), RIGHT, (4, 4)),
    ("right with flaws", (RECOLOUR,), replace(RIGHT, flaw=Flaw(3, "light", 0)), (4, 3)),
    ("right with flaws", (RECOLOUR,), replace(RIGHT, flaw=Flaw(3, "heavy", 0)), (4, 2)),
    ("right and damaged", (RECOLOUR,), REMOVE.apply(RIGHT), (4, 2)),
    ("wrong object", (RECOLOUR,), REMOVE.apply(SOURCE), (1, 2)),
    ("wrong attribute", (RECOLOUR,), SOURCE.put(0, None), (2, 4)),
    ("nothing done", (RECOLOUR,), SOURCE, (1, 4)),
    ("half done", (RECOLOUR, REMOVE), RIGHT, (3, 4)),
    ("right", (RECOLOUR, REMOVE), REMOVE.apply(RIGHT), (4, 4)),
    ("right", (MORE,), SOURCE.put(3, Shape(RED, (0, 0), 1.0)), (4, 4)),
    ("wrong object", (MORE,), SOURCE.put(3, Shape(BLUE, (0, 0), 1.0)), (1, 2)),
    ("right and damaged", (RECOLOUR,), REMOVE.apply(RIGHT).put(3, GREEN), (4, 1)),
]


@pytest.mark.parametrize(("label", "parts", "result", "bands"), GRADED)
def test_bands_and_label(label: str, parts: tuple[Part, ...], result: Drawing, bands: tuple[int, int]) -> None:
    assert grade(SOURCE, parts, result) == (*bands, label)


def test_rationale_says_what_changed_where_what_is_right_and_what_else_is_false() -> None:
    damaged = replace(REMOVE.apply(RIGHT), flaw=Flaw(3, "light", 0))
    assert rationale(SOURCE, (RECOLOUR,), damaged) == (
        "Top left: small red circle to small green circle. Top right: large blue square to nothing. "
        "Right: all. False: top right and light specks in the bottom right. Four and one."
    )
    assert rationale(SOURCE, (RECOLOUR,), SOURCE) == "Nothing changed. Right: no. False: nothing. One and four."
