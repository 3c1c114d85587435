"""Errors of an export. Like those of the runtime, each also is one of Python's own."""

from __future__ import annotations

from yoj.runtime.errors import YojError


class CheckpointError(YojError, ValueError):
    """Checkpoint that is incomplete, inconsistent, or of a kind that cannot be exported."""


class FidelityError(YojError, ArithmeticError):
    """Engine that does not agree with the stock model; no bundle was written."""


class OutputError(YojError, OSError):
    """Bundle that cannot be written where it was asked for."""
