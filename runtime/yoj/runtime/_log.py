"""Logger of the library."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging


def logger() -> logging.Logger:
    """Logger ``yoj`` of the standard library, which is silent until the application configures it."""
    # Lazily: importing logging costs as much as several of the runtime's own modules.
    import logging

    found = logging.getLogger("yoj")
    if not any(isinstance(handler, logging.NullHandler) for handler in found.handlers):
        found.addHandler(logging.NullHandler())
    return found
