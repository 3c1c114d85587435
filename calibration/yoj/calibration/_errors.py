"""Errors of calibration. Like those of the runtime, each also is one of Python's own."""

from __future__ import annotations

from yoj.runtime.errors import YojError


class SampleError(YojError, ValueError):
    """Calibration requests that cannot be used, or that also serve for evaluation."""


class StatisticsError(YojError, ValueError):
    """Statistics that are damaged, or that do not belong together."""


class CalibrationError(YojError, ValueError):
    """Samples from which nothing can be calibrated, or a bundle that they do not fit."""
