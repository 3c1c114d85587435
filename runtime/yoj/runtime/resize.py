"""Image resizing in NumPy, equal to what the reference models were trained with."""

from __future__ import annotations

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
    # Only the rows and columns that some tap reads are ever turned into float.
    upper = _blend(image_HWC[top], left, right, across)
    lower = _blend(image_HWC[bottom], left, right, across)
    weight = down[:, None, None]
    mixed = upper * (1 - weight) + lower * weight
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _blend(
    rows: NDArray[np.uint8], left: NDArray[np.intp], right: NDArray[np.intp], weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    weight = weight[None, :, None]
    return rows[:, left].astype(np.float32) * (1 - weight) + rows[:, right].astype(np.float32) * weight


def _taps(size: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Index of the lower and the upper neighbour of each target pixel, and the weight of the upper."""
    scale = np.float32(size) / np.float32(target)
    centre = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    centre = np.maximum(centre, np.float32(0))
    lower = np.minimum(centre.astype(np.intp), size - 1)
    upper = np.minimum(lower + 1, size - 1)
    return lower, upper, np.clip(centre - lower.astype(np.float32), 0, 1).astype(np.float32)
