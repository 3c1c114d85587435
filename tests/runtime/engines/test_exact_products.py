"""Products of quantised matrices are those of whole numbers on this CPU, whatever it has, at the ends of the scale too.

It needs the runtime alone, so that test_exact_other_cpus.py can run it on an emulated CPU.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from yoj.runtime.engines import exact
from yoj.runtime.engines.onnxruntime import EXACT_8_BITS, session_options
from yoj.runtime.engines.unsigned import UNPACKED
from yoj.runtime.errors import EngineError
from yoj.runtime.manifest import EngineEntry

EPSILON = {"float32": 1e-6, "float16": 2e-3}
"""Rounding of one result; the sums themselves are whole numbers that float32 holds."""


FORMS = [(scheme, arithmetic, False) for scheme in exact.LARGEST_WEIGHT for arithmetic in exact.ARITHMETIC]
FORMS += [(scheme, "float32", True) for scheme in exact.UNSIGNED]
"""Scheme, arithmetic of everything else, and whether the matrices are unsigned."""


def engine_of(scheme: str, arithmetic: str) -> EngineEntry:
    return EngineEntry(engine="onnxruntime", precision=scheme, base_precision=arithmetic, graphs={})


def options_of(scheme: str, arithmetic: str, unsigned: bool):
    form = [UNPACKED] if unsigned else [EXACT_8_BITS] if arithmetic == "float32" else []
    return session_options(onnxruntime, engine_of(scheme, arithmetic), 1, form)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 7, 64])
@pytest.mark.parametrize(("scheme", "arithmetic", "unsigned"), FORMS)
def test_products_of_full_scale_rows_are_those_of_whole_numbers(scheme, arithmetic, unsigned, rows):
    draw = np.random.default_rng(rows)
    left, right = draw.choice([-127, 127], (rows, exact.WIDTH)), exact.weights(scheme)
    left[0], left[rows // 2] = 127, -127
    file, options = str(exact.probe(scheme, arithmetic, unsigned)), options_of(scheme, arithmetic, unsigned)
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": left.astype(np.float32)})[0] / exact.SCALE
    expected = left @ right
    assert np.abs(found - expected).max() <= EPSILON[arithmetic] * np.abs(expected).max()


@pytest.mark.parametrize(("scheme", "arithmetic", "unsigned"), FORMS)
def test_forms_that_the_runtime_opens_are_found_exact(scheme, arithmetic, unsigned):
    options = options_of(scheme, arithmetic, unsigned)
    exact.check_products(onnxruntime, engine_of(scheme, arithmetic), options, unsigned)


def test_wrong_products_are_refused_with_the_scheme_the_cpu_and_what_to_use_instead(monkeypatch):
    right = exact.weights("int8")
    monkeypatch.setattr(exact, "weights", lambda scheme: right // 2)  # what saturating kernels give is as far off
    with pytest.raises(EngineError, match=r"no exact kernel for int8 with float32 on this CPU .* instead of .*float32"):
        exact.check_products(onnxruntime, engine_of("int8", "float32"), options_of("int8", "float32", False))
