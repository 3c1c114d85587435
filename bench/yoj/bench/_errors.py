"""Errors of the bench. Like those of the runtime, each also is one of Python's own."""

from __future__ import annotations

from yoj.runtime.errors import YojError


class BenchError(YojError, ValueError):
    """Folders, bundles, results or machines that cannot be measured, compared or reported."""
