"""The backbone families that can be exported, by ``model_type``."""

from __future__ import annotations

from ._base import ExportFamily, GraphSpec, Smoothing
from ._molmo2 import Molmo2Export
from ._qwen3_vl import Qwen3VLExport

FAMILIES: dict[str, type[ExportFamily]] = {
    "molmo2": Molmo2Export,
    "qwen3_vl": Qwen3VLExport,
}

__all__ = ["FAMILIES", "ExportFamily", "GraphSpec", "Smoothing"]
