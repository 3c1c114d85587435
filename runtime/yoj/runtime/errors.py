"""Everything that yoj raises on purpose. Each error also is one of Python's own, so that callers can catch either.

A text says what happened, where and with which values, and what to do next.
"""

from __future__ import annotations


class YojError(Exception):
    """Base of every error that yoj raises on purpose."""


class BundleError(YojError, ValueError):
    """A bundle that cannot be trusted or understood: changed, incomplete, or of another schema version."""


class RequestError(YojError, ValueError):
    """A request that cannot be scored as it was given."""


class LimitError(RequestError):
    """A request over one of the bundle's limits."""


class LengthError(LimitError):
    """A pack of more tokens than the bundle takes."""

    # Errors are made again from their text alone where they cross processes, as those of a DataLoader's workers do.
    def __init__(self, text: str, tokens: int = 0):
        super().__init__(text)
        self.tokens = tokens
        """L, before anything was shortened; 0 where it is not known."""


class MediaError(RequestError):
    """An image or video that cannot be read, or that the model cannot take."""


class EngineError(YojError, RuntimeError):
    """The engine is missing, does not fit the bundle, or failed."""


class EngineMemoryError(EngineError, MemoryError):
    """The request needs more memory than the machine has free."""


class ScoreError(EngineError, ArithmeticError):
    """The engine returned something that is not a score (NaN or infinity)."""


class HubError(YojError, OSError):
    """A checkpoint or bundle that cannot be had from the Hugging Face hub."""
