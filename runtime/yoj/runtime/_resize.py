"""Image resizing in NumPy, equal to the kernels that the backbones were trained with."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

WEIGHT_BITS = 22
"""Fraction bits of a weight: ``PRECISION_BITS`` in Pillow's ``Resample.c``, 32 less 8 of a level and 2 of headroom."""
BICUBIC_A = -0.5
"""Keys' parameter: ``bicubic_filter`` in Pillow's ``Resample.c``, and torchvision's where it antialiases."""
BICUBIC_SUPPORT = 2.0
"""Half the width of the kernel, in source pixels when enlarging and in target pixels when shrinking."""
BLOCK_BYTES = 2**20
"""Bytes of one block's sums: sums that are added to tap after tap should stay in the processor's cache."""
STRIP_ROWS = 128
"""Source rows that `bicubic` turns into target rows at a time, so that it needs little memory beside its result."""

Taps: TypeAlias = "tuple[NDArray[np.intp], NDArray[np.int32]]"
"""Source pixels of each target pixel, and their weights in fixed point, both [target, taps]."""


def bilinear(image_HWC: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Bilinear resize without antialiasing, pixel centres at half integers, rounded half to even.

    This is ``torchvision.transforms.Resize(BILINEAR, antialias=False)`` on uint8, that is
    ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` in float32 and a round.
    Pillow's resize always antialiases when it shrinks, so it is not a substitute (up to 108 levels apart).

    Args:
        image_HWC: [H, W, 3] uint8.
        height: height of the result in pixels.
        width: width of the result in pixels.

    Returns:
        [height, width, 3] uint8.
    """
    top, bottom, down = _taps(image_HWC.shape[0], height)
    left, right, across = _taps(image_HWC.shape[1], width)
    out_HWC = np.empty((height, width, 3), np.uint8)
    block = max(1, BLOCK_BYTES // (8 * 3 * width))
    for begin in range(0, height, block):
        part = slice(begin, begin + block)
        # Each source row that some target row of the block reads is blended across once.
        rows, place = np.unique(np.concatenate([top[part], bottom[part]]), return_inverse=True)
        source = image_HWC[rows]
        blended = _blend(source[:, left], source[:, right], across[None, :, None])
        lower, upper = np.split(place.reshape(-1), 2)
        mixed = _blend(blended[lower], blended[upper], down[part, None, None])
        out_HWC[part] = np.clip(np.rint(mixed), 0, 255)
    return out_HWC


def bicubic(image_HWC: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Bicubic resize with antialiasing: every bit as Pillow up to 12 (``Image.resize`` with ``Resampling.BICUBIC``).

    First across, then down, each pass in fixed point and clipped to uint8. Pillow 13 goes down first in some cases
    and differs by up to 17 levels; torchvision's uint8 kernel is Pillow's with shorter weights and differs by up to 2.

    Args:
        image_HWC: [H, W, 3] uint8.
        height: height of the result in pixels.
        width: width of the result in pixels.

    Returns:
        [height, width, 3] uint8; the image itself where the size is the same.
    """
    rows, columns = image_HWC.shape[:2]
    across = None if width == columns else _bicubic_taps(columns, width)
    if height == rows and width == columns:
        return np.ascontiguousarray(image_HWC)
    out_HWC = np.empty((height, width, 3), np.uint8)
    if height == rows:
        for top in range(0, rows, STRIP_ROWS):
            out_HWC[top : top + STRIP_ROWS] = _across(image_HWC[top : top + STRIP_ROWS], across)
        return out_HWC
    index_HK, weight_HK = _bicubic_taps(rows, height)
    strip, low, high = out_HWC[:0], 0, 0  # source rows low to high, resampled across
    block = max(1, STRIP_ROWS * height // rows)
    for begin in range(0, height, block):
        index, weight = index_HK[begin : begin + block], weight_HK[begin : begin + block]
        first, end = int(index[0, 0]), int(index[-1, -1]) + 1
        strip = np.concatenate([strip[first - low :], _across(image_HWC[high:end], across)])
        low, high = first, end
        out_HWC[begin : begin + block] = _resample_rows(strip, (index - first, weight))
    return out_HWC


def _blend(lower: NDArray[Any], upper: NDArray[Any], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolate float32 lower * (1 - weight) + upper * weight, with the first product fused into the sum.

    PyTorch's kernel is compiled to a fused multiply-add, which decides how ties round. Here the product is taken in
    float64, where it is exact, so the sum is rounded to float32 once, as the fused instruction does.
    """
    return (lower * (np.float32(1) - weight).astype(np.float64) + upper.astype(np.float32) * weight).astype(np.float32)


def _taps(size: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Index of the lower and the upper neighbour of each target pixel, and the weight of the upper one."""
    scale = np.float64(np.float32(size) / np.float32(target))
    centre = (scale * (np.arange(target) + 0.5) - 0.5).astype(np.float32)
    centre = np.maximum(centre, np.float32(0))
    lower = np.minimum(centre.astype(np.intp), size - 1)
    upper = np.minimum(lower + 1, size - 1)
    return lower, upper, np.clip(centre - lower.astype(np.float32), 0, 1).astype(np.float32)


def _across(strip_HWC: NDArray[np.uint8], taps: Taps | None) -> NDArray[np.uint8]:
    """Resize along the second axis, one pass of `bicubic`; None where that keeps its size."""
    if taps is None:
        return strip_HWC
    # Turned on its side, so that each tap reads whole rows of memory.
    return _resample_rows(strip_HWC.transpose(1, 0, 2), taps).transpose(1, 0, 2)


def _resample_rows(image_HWC: NDArray[np.uint8], taps: Taps) -> NDArray[np.uint8]:
    """Resize along the first axis, one pass of `bicubic`."""
    index_HK, weight_HK = taps
    height = len(index_HK)
    source = np.ascontiguousarray(image_HWC).reshape(image_HWC.shape[0], -1)
    out = np.empty((height, source.shape[1]), np.uint8)
    block = max(1, BLOCK_BYTES // (4 * source.shape[1] or 1))
    for begin in range(0, height, block):
        index, weight = index_HK[begin : begin + block], weight_HK[begin : begin + block]
        total = np.full((len(index), source.shape[1]), 1 << (WEIGHT_BITS - 1), np.int32)  # a half, to round
        for tap in range(index.shape[1]):
            total += source[index[:, tap]] * weight[:, tap, None]
        out[begin : begin + block] = np.clip(total >> WEIGHT_BITS, 0, 255)
    return out.reshape(height, *image_HWC.shape[1:])


def _bicubic_taps(size: int, target: int) -> Taps:
    """Source pixels and weights of each target pixel.

    ``precompute_coeffs`` and ``normalize_coeffs_8bpc`` of Pillow's ``Resample.c``, in the same float64 steps. A pixel
    with fewer taps than others has zero weights behind them.
    """
    scale = size / target
    stretch = max(scale, 1.0)
    support = BICUBIC_SUPPORT * stretch
    centre_H = (np.arange(target) + 0.5) * scale
    first_H = np.maximum((centre_H - support + 0.5).astype(np.intp), 0)
    count_H = np.minimum((centre_H + support + 0.5).astype(np.intp), size) - first_H
    tap_K = np.arange(int(count_H.max()))
    weight_HK = _cubic((tap_K + first_H[:, None] - centre_H[:, None] + 0.5) * (1.0 / stretch))
    weight_HK[tap_K >= count_H[:, None]] = 0.0
    # cumsum adds one tap after the other, as C does; sum would add in pairs.
    weight_HK /= np.cumsum(weight_HK, axis=1)[:, -1:]
    fixed_HK = np.trunc(weight_HK * (1 << WEIGHT_BITS) + np.copysign(0.5, weight_HK)).astype(np.int32)
    return np.minimum(first_H[:, None] + tap_K, size - 1), fixed_HK


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Value of Keys' kernel at distances in pixels."""
    x = np.abs(distance)
    near = ((BICUBIC_A + 2.0) * x - (BICUBIC_A + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * BICUBIC_A
    return np.where(x < 1.0, near, np.where(x < BICUBIC_SUPPORT, far, 0.0))
