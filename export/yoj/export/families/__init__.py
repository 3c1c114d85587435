"""The backbone families that can be exported, by ``model_type``."""

from __future__ import annotations

from .base import ExportFamily, GraphSpec
from .molmo2 import Molmo2

FAMILIES: dict[str, type[ExportFamily]] = {
    "molmo2": Molmo2,
}

__all__ = ["FAMILIES", "ExportFamily", "GraphSpec"]
