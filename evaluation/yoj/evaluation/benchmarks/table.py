"""Table of all benchmarks."""

from __future__ import annotations

from . import editreward, mmrb2, rewardbench2
from ._base import Benchmark

ALL: tuple[Benchmark, ...] = (
    rewardbench2.BENCHMARK,
    editreward.BENCHMARK,
    mmrb2.BENCHMARK,
)
BENCHMARKS = {benchmark.name: benchmark for benchmark in ALL}
"""Benchmarks by name."""
