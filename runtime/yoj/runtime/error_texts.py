"""Pieces of the texts of errors."""

from __future__ import annotations


def shorten(text: str, width: int = 100) -> str:
    """Beginning of a long text, for an error."""
    return text if len(text) <= width else f"{text[:width]}... ({len(text)} characters)"


def reason(error: BaseException) -> str:
    """Message of a library's error, or its type where it has none."""
    return str(error).strip() or type(error).__name__
