"""Unsigned form, with 128 for zero, of a bundle's signed 8-bit matrices, made in memory for CPUs that want them so."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .._log import logger
from ..held import HeldFile

HIGHEST_BIT = 0x80
UNPACKED = ("session.disable_prepacking", "1")
"""Session entry of ONNX Runtime that leaves matrices unpacked. Packed, they would be there twice; unpacked, products of
short rows take longer."""


def flipped(weights: HeldFile, matrices: Iterable[tuple[int, int]]) -> NDArray[np.uint8]:
    """Map a weight file and convert its signed 8-bit matrices in memory; the file stays as it is.

    The rest is mapped: shared with every process that maps the file.

    Args:
        weights: the weight file.
        matrices: first byte and length of each matrix.
    """
    started = time.perf_counter()
    view = weights.private()
    for begin, length in matrices:
        part = view[begin : begin + length]
        np.bitwise_xor(part, HIGHEST_BIT, out=part)
    logger().debug("made 8-bit matrices unsigned in %.2f s", time.perf_counter() - started)
    return view
