"""The schemes whose products are timed compute the product that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from yoj.bench._pieces import attentions, scalings
from yoj.bench._products import ROWS as TOKENS
from yoj.bench._products import graphs, run_of, table

WIDTH, OUT, ROWS = 256, 48, 8
ALLOWED = {"float32": 1e-6, "blocks of 4-bit weights": 0.2}
"""Tolerance in parts of the largest value; 8 bits of Gaussian numbers are within 3 %."""


@pytest.fixture(scope="module")
def products():
    draw = np.random.default_rng(0)
    left = draw.standard_normal((ROWS, WIDTH), np.float32)
    weight = draw.standard_normal((WIDTH, OUT), np.float32)
    computed = {name: run_of(graph, left, OUT)() for name, graph in graphs(weight).items()}
    return left.astype(np.float64) @ weight, computed


def test_each_scheme_is_as_near_as_its_bits(products):
    right, computed = products
    # What the CPU at hand saturates is timed beside the others because it is wrong.
    differ = {
        name: np.abs(found - right).max() / np.abs(right).max()
        for name, found in computed.items()
        if name != "int8, saturating kernel"
    }
    assert {name: value for name, value in differ.items() if value > ALLOWED.get(name, 0.03)} == {}
    assert differ["blocks of 4-bit weights"] > differ["blocks of 8-bit weights"] > differ["float32"]


def test_weights_around_128_are_the_same_numbers(products):
    _, computed = products
    np.testing.assert_allclose(
        computed["int8, unsigned weights"], computed["int8, without scaling rows"], rtol=1e-5, atol=1e-4
    )


def test_scaled_rows_keep_small_rows_that_a_static_range_loses(products):
    draw = np.random.default_rng(1)
    left = draw.standard_normal((ROWS, WIDTH), np.float32) * np.float32(1e-3)
    weight = draw.standard_normal((WIDTH, OUT), np.float32)
    right, made = left @ weight, graphs(weight)
    scaled, static = (
        np.abs(run_of(made[name], left, OUT)() - right).max() / np.abs(right).max()
        for name in ("int8, as exported", "int8, without scaling rows")
    )
    assert scaled < 0.03
    assert static == pytest.approx(1.0)


def test_the_table_compares_with_float32():
    found = {"float32": {"cpu_ms": 10.0, "difference": 0.0}, "int8": {"cpu_ms": 4.0, "difference": 0.01}}
    assert table(found).splitlines()[1].split() == ["int8", "4.0", "ms", "2.50", "times", "float32", "1.0e-02"]


def test_ways_of_scaling_rows_give_the_same_bytes():
    left = np.random.default_rng(0).standard_normal((TOKENS, 40), np.float32)
    left[3] = 0.0
    found = {name: call().astype(int) for name, call in scalings(left).items()}
    row = np.maximum(np.abs(left).max(axis=1, keepdims=True), 2.0**-14)
    np.testing.assert_array_equal(found["as exported"], np.rint(left / row / np.float32(1 / 127)).astype(int) + 128)
    np.testing.assert_array_equal(found["maximum of x and of -x"], found["as exported"])
    # One rounding less.
    assert np.abs(found["a scale of each row"] - found["as exported"]).max() <= 1


def test_attention_in_blocks_is_attention():
    whole, *cut = (call() for call in attentions(37).values())
    for found in cut:
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)
