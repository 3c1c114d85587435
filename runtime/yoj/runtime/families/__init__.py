"""The backbone families that the runtime can prepare requests for, by ``model_type``."""

from __future__ import annotations

from ._base import Arrays, Family, PreparedMedia
from .molmo2 import Molmo2
from .qwen3_vl import Qwen3VL

FAMILIES: dict[str, type[Family]] = {
    "molmo2": Molmo2,
    "qwen3_vl": Qwen3VL,
}

__all__ = ["FAMILIES", "Arrays", "Family", "PreparedMedia"]
