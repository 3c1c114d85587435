"""Schemes of quantised matrices: one record for each, with all that any part of yoj knows of it by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Scheme: the storage of the quantised matrices of a graph, and the kernels that multiply by them."""

    help: str
    """Few words for the help of commands."""
    storage: str
    """Form of the stored weights: a key of `yoj.export.quantisation.schemes.STORAGES`."""
    static: bool
    """Whether activations have one scale, of a range that was measured on samples, instead of a scale for each row."""
    cpu_weight: int | None
    """Largest magnitude of a stored weight, where ONNX Runtime multiplies the stored integers on a CPU; None where it
    has no such kernels and must not try to fuse any."""
    unsigned: bool
    """Whether bundles hold the graphs a second time with unsigned matrices, for CPUs without VNNI."""
    first_target: int | None
    """First compute capability, times ten, with such matrix products in TensorRT 11 and TensorRT-RTX 1.7; None for
    operators of ONNX Runtime, which their parsers do not know."""
    threshold: float
    """Largest difference from the stock model's score that an export accepts, for a head whose output is divided by
    sqrt(hidden size). It notices what is broken; what a scheme costs is measured on rankings, by yoj-calibrate: a step
    of rounding that falls the other way in one layer is carried on by all that follow, so that no small bound holds
    for all models."""


SCHEMES = {
    "int8": Scheme(
        help="8-bit products, activations scaled by token",
        storage="int8",
        static=False,
        cpu_weight=127,
        unsigned=True,
        first_target=80,
        threshold=1.0,
    ),
    "int8_static": Scheme(
        help="one range for all tokens",
        storage="int8",
        static=True,
        cpu_weight=127,
        unsigned=True,
        first_target=80,
        threshold=1.0,
    ),
    "fp8": Scheme(
        help="e4m3, for GPUs from sm89 on",
        storage="fp8",
        static=False,
        cpu_weight=None,
        unsigned=False,
        first_target=89,
        threshold=1.0,
    ),
    "int8_weights": Scheme(
        help="weights in blocks, for CPUs",
        storage="int8_blocks",
        static=False,
        cpu_weight=127,
        unsigned=False,
        first_target=None,
        threshold=1.0,
    ),
    "int4_weights": Scheme(
        help="the same with 4 bits",
        storage="int4_blocks",
        static=False,
        cpu_weight=7,
        unsigned=False,
        first_target=None,
        threshold=1.0,
    ),
}
"""Name of a scheme, which is the precision of such a bundle -> the scheme."""
