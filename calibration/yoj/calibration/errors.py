"""Errors of calibration. Like those of the runtime, each also is one of Python's own."""

from __future__ import annotations

from yoj.runtime.errors import YojError


class CalibrationError(YojError, ValueError):
    """Samples from which nothing can be calibrated, or a bundle that they do not fit."""
