"""Errors of the build. Like those of the runtime, each also is one of Python's own."""

from __future__ import annotations

from yoj.runtime.errors import YojError


class CheckpointError(YojError, ValueError):
    """A checkpoint that is incomplete, inconsistent, or of a kind that cannot be exported."""


class FidelityError(YojError, ArithmeticError):
    """The engine does not agree with the PyTorch reference; no bundle was written."""


class OutputError(YojError, OSError):
    """The bundle cannot be written where it was asked for."""
