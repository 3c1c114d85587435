"""Columns of a table of results, whose types never depend on what was scored."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from yoj.runtime import Judgement, YojError
from yoj.runtime.codec import encode_judgement
from yoj.runtime.result_columns import JUDGEMENT, arrow_type

COLUMNS = JUDGEMENT | {"error": "text"}
"""Column -> its type. All but ``error`` are fields of a `Judgement`, null where there is an error."""


def result_columns(results: Sequence[Judgement | Exception]) -> dict[str, Any]:
    """Columns of results.

    Args:
        results: one entry for each row.

    Returns:
        Arrays of pyarrow by the name of their column, of one type for each column, also where all are null.
    """
    pa: Any = importlib.import_module("pyarrow")
    rows = [
        {"error": error_text(one)} if isinstance(one, Exception) else encode_judgement(one) | {"error": None}
        for one in results
    ]
    return {name: pa.array([row.get(name) for row in rows], arrow_type(pa, said)) for name, said in COLUMNS.items()}


def error_text(error: Exception) -> str:
    """Text of an error as a column holds it; of one that is not yoj's with its type."""
    text = str(error) if isinstance(error, YojError) else f"{type(error).__name__}: {error}"
    return text.encode("utf-8", "backslashreplace").decode()  # names of files may hold what is no Unicode
