"""Table of all benchmarks."""

from __future__ import annotations

from . import (
    editreward,
    mm_rlhf,
    mmrb2,
    mr2bench,
    multimodal_rewardbench,
    rewardbench2,
    video_rewardbench,
    vl_rewardbench,
)
from ._base import Benchmark

ALL: tuple[Benchmark, ...] = (
    vl_rewardbench.BENCHMARK,
    multimodal_rewardbench.BENCHMARK,
    mm_rlhf.BENCHMARK,
    video_rewardbench.BENCHMARK,
    mr2bench.IMAGE,
    mr2bench.VIDEO,
    rewardbench2.BENCHMARK,
    editreward.BENCHMARK,
    mmrb2.BENCHMARK,
)
BENCHMARKS = {benchmark.name: benchmark for benchmark in ALL}
"""Benchmarks by name."""
