"""Benchmarks: measured costs of the runtime and its engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoj.runtime.lazy import lazily

from ._errors import BenchError

if TYPE_CHECKING:
    from ._limits import measure_limits
    from ._measure import BenchSettings, measure
    from ._requests import Size
    from ._results import JudgeResult, MachineLimits, Results, read_results

__all__ = [
    "BenchError",
    "BenchSettings",
    "JudgeResult",
    "MachineLimits",
    "Results",
    "Size",
    "measure",
    "measure_limits",
    "read_results",
]

__getattr__ = lazily(
    __name__,
    {
        "measure_limits": "._limits",
        "BenchSettings": "._measure",
        "measure": "._measure",
        "Size": "._requests",
        "JudgeResult": "._results",
        "MachineLimits": "._results",
        "Results": "._results",
        "read_results": "._results",
    },
)
