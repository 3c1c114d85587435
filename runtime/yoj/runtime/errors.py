"""Errors that yoj raises on purpose. Each also is one of Python's own, so that callers can catch either.

A text says what happened, where and with which values, and what to do next.
"""

from __future__ import annotations


class YojError(Exception):
    """Base of all errors that yoj raises on purpose."""


class BundleError(YojError, ValueError):
    """Bundle that cannot be trusted or understood: changed, incomplete, or of another schema version."""


class RequestError(YojError, ValueError):
    """Request that cannot be scored as it was given."""


class LimitError(RequestError):
    """Request over one of the bundle's limits."""


class LengthError(LimitError):
    """Packed sequence of more tokens than the bundle takes."""

    # Errors are made again from their text alone where they cross processes, as those of a DataLoader's workers do.
    def __init__(self, text: str, tokens: int = 0):
        super().__init__(text)
        self.tokens = tokens
        """Length L before anything was shortened; 0 where it is not known."""


class MediaError(RequestError):
    """Image or video that cannot be read, or that the model cannot take."""


class EngineError(YojError, RuntimeError):
    """Engine that is missing, does not fit the bundle, or failed."""


class EngineMemoryError(EngineError, MemoryError):
    """Request that needs more memory than is free on the machine."""


class ScoreError(EngineError, ArithmeticError):
    """Output of the engine that is not a score (NaN or infinity)."""


class HubError(YojError, OSError):
    """Checkpoint or bundle that cannot be had from the Hugging Face hub."""
