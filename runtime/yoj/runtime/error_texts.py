"""Pieces of the texts of errors."""

from __future__ import annotations

import copy
from typing import TypeVar

AnyError = TypeVar("AnyError", bound=BaseException)


def shorten(text: str, width: int = 100) -> str:
    """Beginning of a long text, for an error."""
    return text if len(text) <= width else f"{text[:width]}... ({len(text)} characters)"


def reason(error: BaseException) -> str:
    """Message of a library's error, or its type where it has none."""
    return str(error).strip() or type(error).__name__


def retold(error: AnyError, text: str) -> AnyError:
    """Copy of an error with another text, all else being equal."""
    told = copy.copy(error)
    told.args = (text,)
    return told
