"""Products of 8-bit matrices are those of whole numbers on every CPU, at the ends of the scale too."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest
from onnx import TensorProto

from yoj.export.quantised import ZERO
from yoj.runtime.engines.onnxruntime import session_options
from yoj.runtime.manifest import Engine

WIDTH, OUT = 96, 24
"""So small that every sum is a whole number that float32 holds exactly."""


def product(node_of, taken: int, given: int, weights: np.ndarray):
    """What a session as the runtime opens it computes of a graph that multiplies by ``weights``."""
    nodes, constants = node_of(weights)
    graph = onnx.helper.make_graph(
        nodes,
        "product",
        [onnx.helper.make_tensor_value_info("left", taken, ["L", WIDTH])],
        [onnx.helper.make_tensor_value_info("out", given, ["L", OUT])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)], ir_version=10)
    options = session_options(onnxruntime, Engine(engine="onnxruntime", precision="int8", graphs={}), 1)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda left: session.run(None, {"left": left})[0]


def as_integers(weights: np.ndarray):
    make = onnx.helper.make_node
    return [make("MatMulInteger", ["left", "right", "zero"], ["out"])], {
        "right": weights,
        "zero": np.array(ZERO, np.uint8),
    }


def as_exported(weights: np.ndarray):
    """QuantizeLinear and DequantizeLinear around a MatMul, which the engine fuses."""
    make = onnx.helper.make_node
    nodes = [
        make("QuantizeLinear", ["left", "one", "zero"], ["bytes"]),
        make("DequantizeLinear", ["bytes", "one", "zero"], ["rounded"]),
        make("DequantizeLinear", ["right", "ones"], ["whole"], axis=1),
        make("MatMul", ["rounded", "whole"], ["out"]),
    ]
    one = np.array(1, np.float32)
    return nodes, {
        "right": weights,
        "zero": np.array(ZERO, np.uint8),
        "one": one,
        "ones": np.ones(weights.shape[1], np.float32),
    }


def full_scale(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations -128 or 127 and weights -127 or 127: constant rows of either sign, then mixed ones."""
    draw = np.random.default_rng(0)
    left = draw.choice([-128, 127], (rows, WIDTH))
    left[0], left[rows // 2] = 127, -128
    right = draw.choice([-127, 127], (WIDTH, OUT))
    right[:, 0], right[:, 1] = 127, -127
    return left, right


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_full_scale_rows_of_whole_numbers_have_exact_products(rows):
    left, right = full_scale(rows)
    run = product(as_integers, TensorProto.UINT8, TensorProto.INT32, right.astype(np.int8))
    np.testing.assert_array_equal(run((left + ZERO).astype(np.uint8)), left @ right)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_full_scale_rows_of_an_exported_product_have_exact_products(rows):
    left, right = full_scale(rows)
    run = product(as_exported, TensorProto.FLOAT, TensorProto.FLOAT, right.astype(np.int8))
    np.testing.assert_array_equal(run(left.astype(np.float32)).astype(np.int64), left @ right)
