"""The NumPy resize against PyTorch's, which the reference models were trained with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yoj.runtime._resize import bilinear

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("several_threads")]
OTHER_KERNEL = 128
"""Up to this height + width of the result PyTorch sums in another order. No crop of a model is that small."""

SIDES = st.one_of(st.sampled_from([1, 2, 3]), st.integers(1, 200))
TARGETS = st.tuples(st.integers(1, 420), st.integers(1, 420))


def by_pytorch(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    image = torch.from_numpy(image_HWC).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(
        image, (height, width), mode="bilinear", align_corners=False, antialias=False
    )
    return resized.round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """Noise; for every other seed in pure black and white, whose blends are the most often halfway."""
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return levels if seed % 2 else (levels >> 7) * np.uint8(255)


@pytest.mark.slow
@settings(deadline=None, max_examples=120)
@given(height=SIDES, width=SIDES, target=TARGETS.filter(lambda t: sum(t) > OTHER_KERNEL), seed=st.integers(0, 999))
@example(height=1, width=1, target=(378, 378), seed=1)
@example(height=1, width=640, target=(378, 378), seed=2)
@example(height=640, width=1, target=(182, 182), seed=2)
@example(height=756, width=756, target=(378, 378), seed=2)
@example(height=189, width=189, target=(378, 378), seed=2)
@example(height=300, width=200, target=(300, 200), seed=1)
@example(height=2, width=5000, target=(378, 756), seed=1)
def test_every_bit_is_that_of_pytorch(height, width, target, seed):
    image_HWC = picture(height, width, seed)
    np.testing.assert_array_equal(bilinear(image_HWC, *target), by_pytorch(image_HWC, *target))


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(height=SIDES, width=SIDES, target=st.tuples(st.integers(1, 64), st.integers(1, 64)), seed=st.integers(0, 999))
def test_a_tiny_result_is_within_one_level_of_pytorch(height, width, target, seed):
    image_HWC = picture(height, width, seed)
    ours, theirs = bilinear(image_HWC, *target), by_pytorch(image_HWC, *target)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@settings(deadline=None, max_examples=30)
@given(height=SIDES, width=SIDES, target=TARGETS, level=st.integers(0, 255))
def test_a_plain_area_keeps_its_level(height, width, target, level):
    resized = bilinear(np.full((height, width, 3), level, np.uint8), *target)
    assert resized.shape == (*target, 3)
    assert (resized == level).all()


@pytest.mark.parametrize("shape", [(5, 7), (182, 182), (1, 1)])
def test_the_same_size_is_the_same_image(shape):
    image_HWC = picture(*shape, seed=3)
    np.testing.assert_array_equal(bilinear(image_HWC, *shape), image_HWC)


def test_shrinking_does_not_average_the_pixels_between():
    """An antialiased resize, such as Pillow's, would give grey."""
    stripes = np.zeros((6, 6, 3), np.uint8)
    stripes[:, 1::3] = 255
    assert (bilinear(stripes, 6, 2) == 255).all()


def test_the_input_is_not_changed_and_may_be_a_view():
    image_HWC = picture(90, 120, seed=1)
    view = image_HWC[::-1, ::2]
    before = image_HWC.copy()
    np.testing.assert_array_equal(bilinear(view, 182, 182), by_pytorch(view.copy(), 182, 182))
    np.testing.assert_array_equal(image_HWC, before)
