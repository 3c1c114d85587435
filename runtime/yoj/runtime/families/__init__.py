"""The backbone families that the runtime can prepare requests for, by ``model_type``."""

from __future__ import annotations

from .base import Arrays, Family, PreparedImage
from .molmo2 import Molmo2

FAMILIES: dict[str, type[Family]] = {
    "molmo2": Molmo2,
}

__all__ = ["FAMILIES", "Arrays", "Family", "PreparedImage"]
