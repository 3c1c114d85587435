"""Test whether ONNX Runtime multiplies 8-bit matrices exactly on this CPU, with products whose results are known.

Without VNNI, x86 CPUs add pairs of 8-bit products in 16 bits, where full-scale values saturate: 255 * 127 twice comes
out as half of what it is, with no error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..machine import instruction_sets
from ..manifest import EngineEntry
from ..schemes import SCHEMES

PROBES = Path(__file__).parent / "probes"
"""Folder of the probe graphs, which `yoj.export.quantisation._probes` writes."""
LARGEST_WEIGHT = {name: scheme.cpu_weight for name, scheme in SCHEMES.items() if scheme.cpu_weight is not None}
"""Scheme of quantised matrices with integer kernels on a CPU -> largest magnitude of its stored weights."""
LARGEST_ACTIVATION = 127.0
UNSIGNED = tuple(name for name, scheme in SCHEMES.items() if scheme.unsigned)
"""Schemes whose graphs a bundle holds with unsigned matrices too."""
ARITHMETIC = ("float32", "float16")
"""Base precisions that ONNX Runtime has on a CPU."""
WIDTH, OUT = 160, 24
"""Number of inputs and outputs of the product: beyond one block of `int8_weights`, and beyond what a register holds."""
SCALE = 2.0**-8
"""Factor of the product, which keeps it within float16."""
ROWS = (1, 9)
"""Numbers of activation rows: kernels differ for one row and for several."""
TOLERANCE = 1e-2
"""Largest allowed error as a part of the largest product; float16 rounds by 5e-4, saturation takes half."""


def probe(scheme: str, arithmetic: str, unsigned: bool = False) -> Path:
    """Path of a product's graph; its unsigned form exists for the schemes of `UNSIGNED`."""
    return PROBES / f"{scheme}-{arithmetic}{'-unsigned' if unsigned else ''}.onnx"


def weights(scheme: str) -> NDArray[np.int64]:
    """Full-scale integer weights [`WIDTH`, `OUT`]: columns of either sign, then mixed ones."""
    right = np.random.default_rng(0).choice([-1, 1], (WIDTH, OUT))
    right[:, 0], right[:, 1] = 1, -1
    return right * LARGEST_WEIGHT[scheme]


def activations(rows: int) -> NDArray[np.int64]:
    """Full-scale integer activations [rows, `WIDTH`]: all at the end of the scale, then mixed ones."""
    left = np.random.default_rng(1).choice([-1, 1], (rows, WIDTH))
    left[0] = 1
    return left * int(LARGEST_ACTIVATION)


def wrong_product(ort: Any, engine: EngineEntry, options: Any, unsigned: bool = False) -> tuple[float, float] | None:
    """Find the product of full-scale integers that is furthest from its true value.

    Args:
        ort: ONNX Runtime.
        engine: the manifest's entry.
        options: ``SessionOptions`` with which the bundle's graphs are opened.
        unsigned: whether the graphs have unsigned matrices.

    Returns:
        Computed and true product; None where all are exact but for rounding, or the scheme has no integer kernels.

    Raises:
        EngineError: ONNX Runtime cannot multiply in this scheme.
    """
    scheme, arithmetic = engine.precision, engine.arithmetic
    if scheme not in LARGEST_WEIGHT or arithmetic not in ARITHMETIC:
        return None
    tried = [activations(rows) for rows in ROWS]
    try:
        file = str(probe(scheme, arithmetic, unsigned))
        session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        results = [session.run(None, {"x": left.astype(np.float32)})[0] / SCALE for left in tried]
    except Exception as error:  # ONNX Runtime raises its own classes, one for each status code
        raise EngineError(f"ONNX Runtime {ort.__version__} fails on a product in {scheme}: {error}") from error
    right = weights(scheme)
    for left, found in zip(tried, results, strict=True):
        expected = left @ right
        off = np.nan_to_num(np.abs(found - expected), nan=np.inf)
        if off.max() > TOLERANCE * np.abs(expected).max():
            place = int(off.argmax())
            return float(found.flat[place]), float(expected.flat[place])
    return None


def check_products(ort: Any, engine: EngineEntry, options: Any, unsigned: bool = False) -> None:
    """Refuse an engine whose products are wrong on this CPU; see `wrong_product`.

    Raises:
        EngineError: the products, and with them the scores, would be wrong.
    """
    wrong = wrong_product(ort, engine, options, unsigned)
    if wrong is not None:
        sets = ", ".join(instruction_sets()) or "instruction sets not known"
        raise EngineError(
            f"ONNX Runtime {ort.__version__} has no exact kernel for {engine.precision} with {engine.arithmetic} on "
            f"this CPU ({sets}): a product of full-scale rows is {wrong[0]:,.0f} instead of {wrong[1]:,.0f}, so scores "
            "would be wrong. Use a bundle in float32 or float16 (yoj-export --precision float32), or an engine for the "
            "GPU."
        )
