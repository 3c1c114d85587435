"""Calibration: samples give statistics, statistics the choice of matrices in 8 bits, rankings the temperatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoj.runtime.lazy import lazily

from ._errors import CalibrationError, SampleError, StatisticsError

if TYPE_CHECKING:
    from ._collect import CalibratedModel, collect
    from ._probabilities import CalibrationJob, calibrate
    from ._samples import choose
    from ._search import SearchConfig, search

__all__ = [
    "CalibratedModel",
    "CalibrationError",
    "CalibrationJob",
    "SampleError",
    "SearchConfig",
    "StatisticsError",
    "calibrate",
    "choose",
    "collect",
    "search",
]

__getattr__ = lazily(
    __name__,
    {
        "CalibratedModel": "._collect",
        "collect": "._collect",
        "CalibrationJob": "._probabilities",
        "calibrate": "._probabilities",
        "choose": "._samples",
        "SearchConfig": "._search",
        "search": "._search",
    },
)
