"""Columns of a table of judgements, whose types never depend on what was scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

JSON = "JSON"
"""Type of columns that hold a text as it is, and any other value as JSON."""
JUDGEMENT: dict[str, Any] = {
    "scores": ["float32"],
    "probabilities": ["float64"],
    "ranks": ["int32"],
    "best": "int32",
    "margin": "float64",
    "entropy": "float64",
    "calibrated": "bool",
    "temperature": "float64",
    "uncalibrated": "text",
    "sigma": ["float32"],
    "dimensions": [{"name": "text", "scores": ["float32"], "sigma": ["float32"]}],
    "dimension": "text",
    "mode": "text",
    "trained_mode": "text",
    "orders": "int32",
    "method": "text",
    "passes": "int32",
    "order_spread": ["float32"],
    "order_agreement": "float64",
    "frames_given": "int64",
    "frames_read": "int64",
    "cuts": [{"response": "int32", "characters": "int64", "kept": "int64"}],
    "duplicates": ["int32"],
    "notices": ["text"],
    "tokens": {"row": "int32", "prompt": "int32", "responses": ["int32"], "visual": "int32"},
}
"""Field of a judgement -> its type; a list has one type in it, an object one for each of its fields."""


def arrow_type(package: Any, said: Any) -> Any:
    """Type of pyarrow, which is given as ``package``, for a type as `JUDGEMENT` says it."""
    if isinstance(said, list):
        return package.list_(arrow_type(package, said[0]))
    if isinstance(said, dict):
        fields = cast("Mapping[str, Any]", said)
        return package.struct([(name, arrow_type(package, inner)) for name, inner in fields.items()])
    return package.string() if said in ("text", JSON) else package.type_for_alias(said)
