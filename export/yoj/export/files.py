"""Reading the small JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import CheckpointError


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        CheckpointError: it is missing, no JSON, or something else than an object.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing. Copy it from the model that was trained.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is not JSON: {error}. Copy it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds a {type(content).__name__} instead of an object. Copy it again.")
    return content
