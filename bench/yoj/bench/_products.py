"""Cost of a matrix product in each scheme, on one core, in CPU seconds, and its difference from the float32 one.

Most of a trunk's time goes into the products of its MLP, [L, D] by [D, 3.8 D] and [L, 3.8 D] by [3.8 D, D]; their ratio
bounds what any graph of a scheme can gain.

yoj-bench products --out 'bench/results/{kind}/products.json'
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click
import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import torch
from numpy.typing import NDArray

from yoj.export.quantisation.schemes import ACCURACY_INT8, BLOCK, INT8, SMALLEST_ROW, pack_blocks, quantise
from yoj.runtime.engines.onnxruntime import EXACT_8_BITS

from ._environment import describe
from ._timing import time_in_turns

ROWS, MLP = 1016, 3.8
"""Tokens of the bench's request, and the intermediate over the hidden size of the 4B models."""
OPSETS = [onnx.helper.make_opsetid("", 23), onnx.helper.make_opsetid("com.microsoft", 1)]
Array = NDArray[Any]


@dataclass(frozen=True)
class ProductGraph:
    """Nodes from ``left`` [L, in] to ``out`` [L, out], both float32."""

    nodes: list[onnx.NodeProto]
    constants: dict[str, Array]
    exact: bool = True
    """Whether ONNX Runtime is told to keep 8-bit products exact, as the runtime does."""


def graphs(weight: Array) -> dict[str, ProductGraph]:
    """Graphs of one product in the existing schemes, and in those that were tried.

    Args:
        weight: matrix, float32 [in, out].
    """
    found = {"float32": ProductGraph([onnx.helper.make_node("MatMul", ["left", "right"], ["out"])], {"right": weight})}
    signed, scale = (tensor.numpy() for tensor in quantise(torch.from_numpy(weight), INT8, 0, torch.float32))
    found["int8, as exported"] = _scaled(_product(signed, scale))
    found["int8, without scaling rows"] = _product(signed, scale)
    found["int8, saturating kernel"] = replace(_product(signed, scale), exact=False)
    unsigned = (signed.astype(np.int16) + INT8.zero).astype(np.uint8)
    found["int8, unsigned weights"] = _product(unsigned, scale)
    for bits in (8, 4):
        found[f"blocks of {bits}-bit weights"] = _blocks(weight, bits)
    return found


def _product(weight: Array, scale: Array) -> ProductGraph:
    """Nodes of a product with activations in one static range, which holds five standard deviations."""
    make = onnx.helper.make_node
    nodes = [
        make("QuantizeLinear", ["left", "scale", "zero"], ["bytes"]),
        make("DequantizeLinear", ["bytes", "scale", "zero"], ["rounded"]),
        make("DequantizeLinear", ["right", "right_scale", "right_zero"], ["whole"], axis=1),
        make("MatMul", ["rounded", "whole"], ["out"]),
    ]
    middle = INT8.zero if weight.dtype == np.uint8 else 0
    constants = {
        "right": weight,
        "right_scale": scale,
        "right_zero": np.full(scale.shape, middle, weight.dtype),
        "scale": np.array(5 / INT8.largest, np.float32),
        "zero": np.array(INT8.zero, np.uint8),
    }
    return ProductGraph(nodes, constants)


def _scaled(product: ProductGraph) -> ProductGraph:
    """Nodes of a product with each row divided by its largest magnitude, and multiplied by it again."""
    make = onnx.helper.make_node
    before = [
        make("Abs", ["left"], ["magnitude"]),
        make("ReduceMax", ["magnitude", "last"], ["largest"], keepdims=1),
        make("Clip", ["largest", "least"], ["row"]),
        make("Div", ["left", "row"], ["even"]),
    ]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in product.nodes]
    nodes[0].input[0], nodes[-1].output[0] = "even", "small"
    constants = product.constants | {
        "last": np.array([-1]),
        "least": np.array(SMALLEST_ROW, np.float32),
        "scale": np.array(1 / INT8.largest, np.float32),
    }
    return ProductGraph([*before, *nodes, make("Mul", ["small", "row"], ["out"])], constants)


def _blocks(weight: Array, bits: int) -> ProductGraph:
    width, out = weight.shape
    values, scale = (tensor.numpy() for tensor in pack_blocks(torch.from_numpy(weight), bits, torch.float32))
    sizes: dict[str, Any] = {"K": width, "N": out, "bits": bits, "block_size": BLOCK, "accuracy_level": ACCURACY_INT8}
    inputs = ["left", "right", "right_scale"]
    node = onnx.helper.make_node("MatMulNBits", inputs, ["out"], domain="com.microsoft", **sizes)
    return ProductGraph([node], {"right": values, "right_scale": scale})


def run_of(graph: ProductGraph, left: Array, out: int) -> Callable[[], Array]:
    """Function that runs a graph on one thread, into memory that is there already."""
    float32 = onnx.TensorProto.FLOAT
    made = onnx.helper.make_graph(
        graph.nodes,
        "product",
        [onnx.helper.make_tensor_value_info("left", float32, left.shape)],
        [onnx.helper.make_tensor_value_info("out", float32, (len(left), out))],
        [onnx.numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry(EXACT_8_BITS[0], EXACT_8_BITS[1] if graph.exact else "0")
    model = onnx.helper.make_model(made, opset_imports=OPSETS, ir_version=10).SerializeToString()
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    result = np.empty((len(left), out), np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input("left", left)
    binding.bind_output("out", "cpu", 0, np.float32, result.shape, result.ctypes.data)

    def run() -> Array:
        session.run_with_iobinding(binding)
        return result

    return run


def measure_widths(widths: Sequence[int], repeats: int) -> dict[str, Any]:
    """Measure the products of an MLP at several hidden sizes, see `measure`, with the environment.

    stderr has the sizes as they are done.
    """
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with torch.inference_mode():
        for width in widths:
            click.echo(f"D = {width:,}", err=True)
            found[str(width)] = measure(width, repeats)
    return {"environment": describe(1), "rows": ROWS, "widths": found}


def measure(width: int, repeats: int) -> dict[str, dict[str, float]]:
    """CPU milliseconds of both products of an MLP, and the largest difference from float32 over its largest value."""
    draw = np.random.default_rng(0)
    found: dict[str, dict[str, float]] = {}
    for sizes in ((width, round(MLP * width)), (round(MLP * width), width)):
        left = draw.standard_normal((ROWS, sizes[0]), np.float32)
        weight = draw.standard_normal(sizes, np.float32) * np.float32(sizes[0] ** -0.5)
        calls = {name: run_of(graph, left, sizes[1]) for name, graph in graphs(weight).items()}
        held, by = torch.from_numpy(left), torch.from_numpy(weight.T.copy())
        calls["float32, PyTorch"] = lambda held=held, by=by: torch.nn.functional.linear(held, by).numpy()
        right = left @ weight
        differ = {name: float(np.abs(call() - right).max() / np.abs(right).max()) for name, call in calls.items()}
        for name, taken in time_in_turns(calls, repeats, time.process_time).items():
            last = found.get(name, {"cpu_ms": 0.0, "difference": 0.0})
            found[name] = {
                "cpu_ms": last["cpu_ms"] + taken.median,
                "difference": max(last["difference"], differ[name]),
            }
    return found


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Table as text, a line for each scheme."""
    whole = found["float32"]["cpu_ms"]
    return "\n".join(
        f"{name:28}{of['cpu_ms']:10.1f} ms{whole / of['cpu_ms']:8.2f} times float32{of['difference']:12.1e}"
        for name, of in found.items()
    )
