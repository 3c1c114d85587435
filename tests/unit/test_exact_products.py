"""Products of quantised matrices are those of whole numbers on this CPU, whatever it has, at the ends of the scale too.

It needs the runtime alone, so that test_other_cpus.py can run it on an emulated CPU.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from yoj.runtime.engines import exact
from yoj.runtime.engines.onnxruntime import session_options
from yoj.runtime.errors import EngineError
from yoj.runtime.manifest import Engine

EPSILON = {"float32": 1e-6, "float16": 2e-3}
"""Rounding of one result; the sums themselves are whole numbers that float32 holds."""


def options_of(scheme: str, arithmetic: str):
    return session_options(onnxruntime, Engine(engine="onnxruntime", precision=scheme, rest=arithmetic, graphs={}), 1)


def integers(scheme: str, rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows at the ends of the scale, and weights."""
    draw = np.random.default_rng(rows)
    left = draw.choice([-127, 127], (rows, width))
    left[0], left[rows // 2] = 127, -127
    return left, exact.weights(scheme)


@pytest.mark.parametrize("rows", [1, 2, 7, 64])
@pytest.mark.parametrize("arithmetic", exact.ARITHMETIC)
@pytest.mark.parametrize("scheme", exact.LARGEST_WEIGHT)
def test_products_of_full_scale_rows_are_those_of_whole_numbers(scheme, arithmetic, rows):
    left, right = integers(scheme, rows, exact.WIDTH)
    file = str(exact.PROBES / f"{scheme}-{arithmetic}.onnx")
    session = onnxruntime.InferenceSession(file, options_of(scheme, arithmetic), providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": left.astype(np.float32)})[0] / exact.SCALE
    expected = left @ right
    assert np.abs(found - expected).max() <= EPSILON[arithmetic] * np.abs(expected).max()


@pytest.mark.parametrize("arithmetic", exact.ARITHMETIC)
@pytest.mark.parametrize("scheme", exact.LARGEST_WEIGHT)
def test_a_bundle_is_opened_as_its_products_are_exact(scheme, arithmetic):
    exact.check_products(onnxruntime, scheme, arithmetic, options_of(scheme, arithmetic))


def test_wrong_products_are_refused_with_the_scheme_the_cpu_and_what_to_use_instead(monkeypatch):
    right = exact.weights("int8")
    monkeypatch.setattr(exact, "weights", lambda scheme: right // 2)  # what saturating kernels give is as far off
    with pytest.raises(EngineError, match=r"no exact kernel for int8 with float32 on this CPU .* instead of .*float32"):
        exact.check_products(onnxruntime, "int8", "float32", options_of("int8", "float32"))
