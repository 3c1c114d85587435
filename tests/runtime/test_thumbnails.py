"""Thumbnails: small copies that are the picture, and words where there is none."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from yoj.runtime import Image, Video
from yoj.runtime.thumbnails import Missing, Thumbnail, thumbnails

FRAMES = Path(__file__).parents[1] / "golden" / "data" / "images" / "frames_ball"


def decoded(one: Thumbnail | Missing) -> np.ndarray:
    assert isinstance(one, Thumbnail)
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(one.url.partition(",")[2]))))


def test_a_small_picture_stays_as_it_is_or_is_compressed():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)
    (one,) = thumbnails(Image(pixels), "images[0]", 320)
    assert (decoded(one) == pixels).all()
    (small,) = thumbnails(Image(pixels), "images[0]", 320, lossless=0)
    assert isinstance(small, Thumbnail)
    assert small.url.startswith("data:image/jpeg;base64,")


def test_a_large_picture_is_shrunk_in_its_shape():
    (one,) = thumbnails(Image(np.full((300, 900, 3), 77, np.uint8)), "images[0]", 240)
    assert isinstance(one, Thumbnail)
    assert (one.size, one.shown) == ((900, 300), (240, 80))
    assert np.abs(decoded(one).astype(int) - 77).max() < 4


def test_a_video_has_a_few_frames_with_their_times():
    found = [*thumbnails(Video(FRAMES, fps=2.0), "video", 64)]
    assert 1 < len(found) <= 4
    assert all(isinstance(one, Thumbnail) for one in found)
    assert "at 0 s" in found[0].name  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("medium", [Image(b"no picture"), Image("no/such.png"), Video("no/such.mp4")])
def test_what_cannot_be_read_is_said(medium):
    (one,) = thumbnails(medium, "this one", 64)
    assert isinstance(one, Missing)
    assert one.text.startswith("not shown: this one")
