"""The backbone families that can be exported, by ``model_type``."""

from __future__ import annotations

from .base import ExportFamily, GraphSpec, Smoothing
from .molmo2 import Molmo2
from .qwen3_vl import Qwen3VL

FAMILIES: dict[str, type[ExportFamily]] = {
    "molmo2": Molmo2,
    "qwen3_vl": Qwen3VL,
}

__all__ = ["FAMILIES", "ExportFamily", "GraphSpec", "Smoothing"]
