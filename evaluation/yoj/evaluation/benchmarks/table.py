"""Table of all benchmarks."""

from __future__ import annotations

from ._base import Benchmark

ALL: tuple[Benchmark, ...] = ()
BENCHMARKS = {benchmark.name: benchmark for benchmark in ALL}
"""Benchmarks by name."""
