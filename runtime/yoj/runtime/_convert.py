"""Conversion of plain values to structs, by one thread at a time."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
_lock = threading.RLock()


def to_struct(value: Any, struct: type[T], *, strict: bool = True) -> T:
    """Convert a value to a struct.

    msgspec reads a struct's fields when it is first converted, in Python, and another thread that asks meanwhile may
    use what is half read: of hosts whose eight threads began with loading a bundle a quarter crashed (msgspec 0.22.0).

    Args:
        value: value that JSON can hold.
        struct: the struct.
        strict: see `msgspec.convert`.

    Raises:
        msgspec.ValidationError: the value does not fit.
    """
    with _lock:
        return msgspec.convert(value, struct, strict=strict)
