"""Names of the earlier version, which work until the next one with a warning that says the new name."""

from __future__ import annotations

import warnings

NEXT = "the next minor version of yoj"


def warn_renamed(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn that a name in somebody's code is an old one.

    Args:
        old: old name, which was used.
        new: name to use instead.
        stacklevel: level for `warnings.warn`; 3 blames the caller of the function that calls this one.
    """
    warnings.warn(renamed_text(old, new), DeprecationWarning, stacklevel=stacklevel)


def renamed_text(old: str, new: str) -> str:
    """The sentence that tells of a new name."""
    return f"{old} is now {new}; the old name goes with {NEXT}."
