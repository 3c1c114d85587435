"""JSON schema of ``manifest.json``."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any, cast

import msgspec

from .manifest import Manifest


def schema() -> bytes:
    """JSON schema of ``manifest.json``, the content of ``manifest.schema.json``.

    The order of its fields depends on the version of msgspec.
    """
    return msgspec.json.format(msgspec.json.encode(_cleaned(msgspec.json.schema(Manifest))), indent=2) + b"\n"


def _cleaned(value: Any) -> Any:
    """Schema whose descriptions lack the indentation of docstrings, as msgspec writes them since 0.23."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: cleandoc(one) if name == "description" else _cleaned(one) for name, one in fields.items()}
    return [_cleaned(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value
