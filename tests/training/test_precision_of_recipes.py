"""Which precision a recipe takes on which machine."""

from __future__ import annotations

import msgspec
import pytest
import torch

from yoj.runtime.machine import instruction_sets
from yoj.training._precision import machine_of_cpu, resolve, slowness, this_machine
from yoj.training._recipe import Recipe

AVX2, AVX512 = ("avx2",), ("avx2", "avx512f", "avx512_vnni")
BF16, AMX = (*AVX512, "avx512_bf16"), (*AVX512, "amx_bf16")
ARM = ("asimd", "i8mm", "bf16")


def recipe(precision: str = "auto", base: str = "auto", **settings) -> Recipe:
    return msgspec.convert(
        {"base": "b", "data": "d", "out": "o", "precision": precision, "base_precision": base, **settings}, Recipe
    )


def both(of: Recipe) -> tuple[str, str]:
    return of.precision, of.base_precision


@pytest.mark.parametrize(
    ("sets", "expected"),
    [(AVX2, "float32"), (AVX512, "float32"), (BF16, "bfloat16"), (AMX, "bfloat16"), (ARM, "float32"), ((), "float32")],
    ids=str,
)
def test_auto_is_what_the_cpu_computes_fast(sets, expected):
    assert both(resolve(recipe(), machine_of_cpu(sets))) == (expected, expected)


def test_what_a_recipe_asks_for_is_kept():
    for sets in (AVX2, BF16):
        assert both(resolve(recipe("bfloat16", "bfloat16"), machine_of_cpu(sets))) == ("bfloat16", "bfloat16")
        assert both(resolve(recipe("float32", "float32"), machine_of_cpu(sets))) == ("float32", "float32")


def test_weights_are_held_in_bfloat16_only_where_products_are_in_it():
    assert both(resolve(recipe("float32"), machine_of_cpu(BF16))) == ("float32", "float32")
    assert both(resolve(recipe("bfloat16"), machine_of_cpu(AVX2))) == ("bfloat16", "float32")
    assert both(resolve(recipe("bfloat16"), machine_of_cpu(BF16))) == ("bfloat16", "bfloat16")


def test_slow_bfloat16_is_said_with_what_to_set():
    machine = machine_of_cpu(AVX2)
    said = slowness(recipe("bfloat16", "bfloat16"), machine)
    assert said is not None
    assert said.startswith("Warning: precision and base_precision are bfloat16. ")
    assert "This is CPU (avx2). Set precision=auto and base_precision=auto, or float32" in said
    alone = slowness(recipe("bfloat16", "float32"), machine)
    assert alone is not None
    assert alone.startswith("Warning: precision is bfloat16. ")
    # Where all weights are trained, base_precision says nothing.
    assert slowness(recipe("float32", "bfloat16", trainable="all"), machine) is None
    assert slowness(recipe("float32", "float32"), machine) is None
    assert slowness(recipe("bfloat16", "bfloat16"), machine_of_cpu(AMX)) is None


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
def test_this_machine_is_its_cpu():
    assert this_machine() == machine_of_cpu(instruction_sets())
