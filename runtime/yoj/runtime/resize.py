"""Image resizing in NumPy, equal to what the reference models were trained with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def bilinear(image_HWC: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Bilinear resize without antialiasing, pixel centres at half integers, rounded half to even.

    This is ``torchvision.transforms.Resize(BILINEAR, antialias=False)`` on uint8, that is
    ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` in float32 and a round.
    Pillow's resize always antialiases when it shrinks, so it is not a substitute (up to 108 levels apart).

    Args:
        image_HWC: [H, W, 3] uint8.
        height: of the result, in pixels.
        width: of the result, in pixels.

    Returns:
        [height, width, 3] uint8.
    """
    top, bottom, down = _taps(image_HWC.shape[0], height)
    left, right, across = _taps(image_HWC.shape[1], width)
    # Each source row that some target row reads is blended across once.
    rows, place = np.unique(np.concatenate([top, bottom]), return_inverse=True)
    source = image_HWC[rows]
    blended = _blend(source[:, left], source[:, right], across[None, :, None])
    mixed = _blend(blended[place[:height]], blended[place[height:]], down[:, None, None])
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _blend(lower: NDArray[Any], upper: NDArray[Any], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 lower * (1 - weight) + upper * weight, with the first product fused into the sum.

    PyTorch's kernel is compiled to a fused multiply-add, which decides how ties round. Here the product is taken in
    float64, where it is exact, so the sum is rounded to float32 once, as the fused instruction does.
    """
    return (lower * (np.float32(1) - weight).astype(np.float64) + upper.astype(np.float32) * weight).astype(np.float32)


def _taps(size: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Index of the lower and the upper neighbour of each target pixel, and the weight of the upper."""
    scale = np.float64(np.float32(size) / np.float32(target))
    centre = (scale * (np.arange(target) + 0.5) - 0.5).astype(np.float32)
    centre = np.maximum(centre, np.float32(0))
    lower = np.minimum(centre.astype(np.intp), size - 1)
    upper = np.minimum(lower + 1, size - 1)
    return lower, upper, np.clip(centre - lower.astype(np.float32), 0, 1).astype(np.float32)
