"""Table of all benchmarks."""

from __future__ import annotations

from . import (
    _editreward,
    _mm_rlhf,
    _mmrb2,
    _mr2bench,
    _multimodal_rewardbench,
    _rewardbench2,
    _video_rewardbench,
    _vl_rewardbench,
)
from ._base import Benchmark

ALL: tuple[Benchmark, ...] = (
    _vl_rewardbench.BENCHMARK,
    _multimodal_rewardbench.BENCHMARK,
    _mm_rlhf.BENCHMARK,
    _video_rewardbench.BENCHMARK,
    _mr2bench.IMAGE,
    _mr2bench.VIDEO,
    _rewardbench2.BENCHMARK,
    _editreward.BENCHMARK,
    _mmrb2.BENCHMARK,
)
BENCHMARKS = {benchmark.name: benchmark for benchmark in ALL}
"""Benchmarks by name."""
