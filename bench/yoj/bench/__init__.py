"""Benchmarks: measured costs of the runtime and its engines."""
