"""Cells of a trainer's table that hold pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yoj.integrations._messages import holds_pictures

PICTURE = Image.new("RGB", (8, 8))


@pytest.mark.parametrize(
    "cell",
    [
        PICTURE,
        [None, PICTURE],
        {"bytes": b"\x89PNG", "path": None},
        {"bytes": None, "path": "a"},
        np.zeros((8, 8, 3), np.uint8),
        "scene.png",
        [Path("a.JPG")],
        "https://a.b/c.webp?d",
        "data:image/png;base64,AAAA",
    ],
)
def test_pictures(cell):
    assert holds_pictures(cell)


@pytest.mark.parametrize(
    "cell",
    [
        None,
        [],
        3,
        "A cat.",
        "png",
        {"bytes": None, "path": None},
        {"path": "a.png"},
        np.zeros((8, 3)),
        b"\x89PNG",
        "a.mp4",
    ],
)
def test_other_cells(cell):
    assert not holds_pictures(cell)
