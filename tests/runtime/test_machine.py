"""The instruction sets of this machine, against what NumPy finds out by asking the CPU itself."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from yoj.runtime.machine import instruction_sets

BY_NUMPY = {"avx2": "AVX2", "avx512f": "AVX512F", "asimd": "ASIMD", "asimddp": "ASIMDDP"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say")
def test_instruction_sets_are_those_that_numpy_finds():
    features = np._core._multiarray_umath.__cpu_features__
    found = instruction_sets()
    assert found
    for name, by_numpy in BY_NUMPY.items():
        assert (name in found) == features.get(by_numpy, False)
