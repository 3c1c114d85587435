"""The package pyarrow, which is loaded where a Parquet file is read or written."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import RequestError


def arrow(name: str) -> tuple[Any, Any]:
    """Modules ``pyarrow`` and ``pyarrow.parquet``.

    Args:
        name: name of the file that needs them.

    Raises:
        RequestError: pyarrow is not installed.
    """
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise RequestError(f"{name} is a Parquet file, which needs a package: pip install 'yoj[parquet]'.") from error
