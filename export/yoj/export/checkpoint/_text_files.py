"""Small JSON and text files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .._errors import CheckpointError

LARGEST_TEXT = 64 * 2**20
"""Largest size in bytes; index files of sharded weights have some hundred thousand, configurations far fewer."""


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        CheckpointError: the file is missing, no JSON, or something else than an object.
    """
    try:
        content = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{file} is not JSON: {error}. Copy it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds a {type(content).__name__} instead of an object. Copy it again.")
    return content


def read_text(file: Path) -> str:
    """Read a text file of a checkpoint.

    Raises:
        CheckpointError: the file is missing, unreadable, not UTF-8, or far larger than any such file is.
    """
    try:
        if (size := file.stat().st_size) > LARGEST_TEXT:
            raise CheckpointError(f"{file} has {size:,} bytes, no such file of a model has. Copy it again.")
        return file.read_text("utf-8")
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing. Copy it from the model that was trained.") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{file} is not UTF-8: {error}. Copy it again.") from error
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be read: {error.strerror}. Give it back its rights, or copy it again."
        ) from error
