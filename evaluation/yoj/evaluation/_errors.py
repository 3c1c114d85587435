"""Errors of an evaluation."""

from __future__ import annotations

from yoj.runtime.errors import YojError


class EvaluationError(YojError, ValueError):
    """Benchmark, run or file of votes that cannot be evaluated."""
