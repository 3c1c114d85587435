"""Check of the disk space and the memory for an export, before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from yoj.runtime.machine import free_memory

from .._errors import OutputError
from ..checkpoint.checkpoint import Checkpoint
from ..families import GraphSpec
from ..graph.precision import PRECISIONS
from ._config import ExportConfig

COMPARISON_BYTES = 10
"""Bytes of memory for each weight: the stock model in float32, and the engine, which on a CPU computes in float32 as
well."""


def check_room(checkpoint: Checkpoint, specs: Sequence[GraphSpec], config: ExportConfig, folder: Path) -> None:
    """Refuse an export that would fail after minutes for lack of disk or memory, before anything is written."""
    values = _values(checkpoint, specs)
    dtype = PRECISIONS.get(
        config.precision, PRECISIONS[config.base_precision] if config.quantisation else torch.float16
    )
    size = weight_bytes(checkpoint, specs, dtype)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(
            f"{folder.parent} has {free / 1e6:,.1f} MB free; the weights need {size / 1e6:,.1f} MB. Make room, or "
            "choose another --out."
        )
    need, memory = values * COMPARISON_BYTES, free_memory()
    if config.compare and memory is not None and need > memory:
        raise OutputError(
            f"To compare the bundle with the stock model takes about {need / 1e9:.1f} GB of memory, and "
            f"{memory / 1e9:.1f} GB are free. Export with --no-compare, and run yoj-export verify where there is more."
        )


def _values(checkpoint: Checkpoint, specs: Sequence[GraphSpec]) -> int:
    """Number of values in the weight file."""
    return weight_bytes(checkpoint, specs, torch.float32) // torch.float32.itemsize


def weight_bytes(checkpoint: Checkpoint, specs: Sequence[GraphSpec], dtype: torch.dtype) -> int:
    """Size of the weight file in bytes, in a precision."""
    sources = {source for spec in specs for source in spec.sources.values()}
    shapes = ((source.change.dtype(dtype), checkpoint.weights.stored_shape(source)) for source in sources)
    return sum(stored.itemsize * torch.Size(shape).numel() for stored, shape in shapes)
