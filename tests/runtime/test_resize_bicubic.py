"""The NumPy bicubic resize against Pillow's, one axis at a time, and against PyTorch's uint8 kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from yoj.runtime._resize import bicubic

pytestmark = pytest.mark.parity

SIDES = st.one_of(st.sampled_from([1, 2, 3]), st.integers(1, 260))
SIZES = st.tuples(SIDES, SIDES)


def by_pillow(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Across, then down: each call changes one axis only, so Pillow's own choice of order has no say."""
    across = Image.fromarray(image_HWC).resize((width, image_HWC.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(across.resize((width, height), Image.Resampling.BICUBIC))


def by_pytorch(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    image = torch.from_numpy(image_HWC).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(image, (height, width), mode="bicubic", antialias=True)
    assert resized.dtype == torch.uint8
    return resized[0].permute(1, 2, 0).numpy()


def picture(size: tuple[int, int], seed: int) -> np.ndarray:
    """Noise; for every other seed in pure black and white, which overshoots the most and so shows the order."""
    levels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return levels if seed % 2 else (levels >> 7) * np.uint8(255)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(size=SIZES, target=SIZES, seed=st.integers(0, 999))
@example(size=(1, 1), target=(64, 64), seed=1)
@example(size=(1, 640), target=(32, 320), seed=2)
@example(size=(640, 1), target=(320, 32), seed=2)
@example(size=(300, 200), target=(150, 400), seed=2)  # Pillow 13 goes down first
@example(size=(200, 300), target=(400, 150), seed=2)
@example(size=(64, 200), target=(64, 96), seed=2)
@example(size=(200, 64), target=(96, 64), seed=2)
@example(size=(3, 5000), target=(2, 32), seed=1)
@example(size=(1333, 2000), target=(992, 1504), seed=1)
def test_every_bit_is_that_of_pillow(size, target, seed):
    image_HWC = picture(size, seed)
    resized = bicubic(image_HWC, *target)
    assert resized.dtype == np.uint8
    np.testing.assert_array_equal(resized, by_pillow(image_HWC, *target))


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(size=SIZES, target=SIZES, seed=st.integers(0, 999))
@example(size=(300, 200), target=(150, 400), seed=2)
def test_pytorch_is_two_levels_away_at_most(size, target, seed):
    image_HWC = picture(size, seed)
    assert np.abs(bicubic(image_HWC, *target).astype(int) - by_pytorch(image_HWC, *target)).max() <= 2


def test_the_order_of_the_passes_shows():
    """The exact test above could not tell the orders apart if these two were equal."""
    image_HWC = picture((300, 200), seed=2)
    down_first = bicubic(bicubic(image_HWC, 150, 200), 150, 400)
    difference = np.abs(bicubic(image_HWC, 150, 400).astype(int) - down_first)
    assert difference.max() > 2


@settings(deadline=None, max_examples=30)
@given(size=SIZES, target=SIZES, level=st.integers(0, 255))
def test_a_plain_area_keeps_its_level(size, target, level):
    resized = bicubic(np.full((*size, 3), level, np.uint8), *target)
    assert resized.shape == (*target, 3)
    assert (resized == level).all()


@pytest.mark.parametrize("size", [(5, 7), (192, 192), (1, 1)])
def test_the_same_size_is_the_same_image(size):
    image_HWC = picture(size, seed=3)
    np.testing.assert_array_equal(bicubic(image_HWC, *size), image_HWC)


def test_shrinking_averages_the_pixels_between():
    stripes = np.zeros((8, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = bicubic(stripes, 8, 8)[:, 2:-2]
    assert ((inner > 110) & (inner < 145)).all()


def test_the_channels_do_not_mix():
    image_HWC = picture((50, 70), seed=1)
    for channel in range(3):
        alone = np.zeros_like(image_HWC)
        alone[..., channel] = image_HWC[..., channel]
        resized = bicubic(alone, 33, 91)
        np.testing.assert_array_equal(resized[..., channel], bicubic(image_HWC, 33, 91)[..., channel])
        assert not np.delete(resized, channel, axis=-1).any()


def test_the_input_is_not_changed_and_may_be_a_view():
    image_HWC = picture((90, 120), seed=1)
    view = image_HWC[::-1, ::2]
    before = image_HWC.copy()
    np.testing.assert_array_equal(bicubic(view, 182, 182), by_pillow(view.copy(), 182, 182))
    np.testing.assert_array_equal(image_HWC, before)
