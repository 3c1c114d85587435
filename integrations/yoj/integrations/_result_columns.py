"""Columns of a table of results, whose types never depend on what was scored."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from yoj.runtime import Judgement, YojError
from yoj.runtime.codec import encode_judgement

REALS, INTEGERS, TEXTS = "reals", "integers", "texts"
KINDS: dict[str, str] = {
    "scores": REALS,
    "probabilities": REALS,
    "ranks": INTEGERS,
    "best": "integer",
    "margin": "real",
    "entropy": "real",
    "calibrated": "flag",
    "temperature": "real",
    "uncalibrated": "text",
    "sigma": REALS,
    "dimensions": "dimensions",
    "dimension": "text",
    "mode": "text",
    "trained_mode": "text",
    "orders": "integer",
    "method": "text",
    "passes": "integer",
    "order_spread": REALS,
    "order_agreement": "real",
    "frames_given": "integer",
    "frames_read": "integer",
    "cuts": "cuts",
    "duplicates": INTEGERS,
    "notices": TEXTS,
    "tokens": "tokens",
    "error": "text",
}
"""Column -> kind of its values. All but ``error`` are fields of a `Judgement`, null where there is an error."""


def result_columns(results: Sequence[Judgement | Exception]) -> dict[str, Any]:
    """Columns of results.

    Args:
        results: one entry for each row.

    Returns:
        Arrays of pyarrow by the name of their column, of one type for each column, also where all are null.
    """
    pa: Any = importlib.import_module("pyarrow")
    types = _types(pa)
    rows = [
        {"error": error_text(one)} if isinstance(one, Exception) else encode_judgement(one) | {"error": None}
        for one in results
    ]
    return {name: pa.array([row.get(name) for row in rows], types[kind]) for name, kind in KINDS.items()}


def error_text(error: Exception) -> str:
    """Text of an error as a column holds it; of one that is not yoj's with its type."""
    text = str(error) if isinstance(error, YojError) else f"{type(error).__name__}: {error}"
    return text.encode("utf-8", "backslashreplace").decode()  # names of files may hold what is no Unicode


def _types(pa: Any) -> dict[str, Any]:
    """Kind -> type of Arrow."""
    reals, integers = pa.list_(pa.float64()), pa.list_(pa.int64())
    cut = {"response": pa.int64(), "characters": pa.int64(), "kept": pa.int64()}
    tokens = {"row": pa.int64(), "prompt": pa.int64(), "responses": integers, "visual": pa.int64()}
    return {
        REALS: reals,
        INTEGERS: integers,
        TEXTS: pa.list_(pa.string()),
        "real": pa.float64(),
        "integer": pa.int64(),
        "flag": pa.bool_(),
        "text": pa.string(),
        "dimensions": pa.list_(pa.struct({"name": pa.string(), "scores": reals, "sigma": reals})),
        "cuts": pa.list_(pa.struct(cut)),
        "tokens": pa.struct(tokens),
    }
