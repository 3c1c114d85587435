"""Operators around an 8-bit trunk's products, as they are and as was tried: scaling of rows, blocks of queries.

One thread of ONNX Runtime, CPU time.

One thread of ONNX Runtime, CPU time.

yoj-bench pieces --out 'bench/results/{kind}/pieces.json'
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime

from yoj.export.quantisation.schemes import INT8, SMALLEST_ROW

from ._environment import describe
from ._products import OPSETS, ROWS, Array
from ._timing import time_in_turns

HEADS, KV_HEADS, HEAD_SIZE = 8, 2, 128
"""Numbers and size of the heads of the deep model."""
BLOCKS = (1, 4, 8, 16, 32)
FLOAT = onnx.TensorProto.FLOAT
CONSTANTS: dict[str, Array] = {
    "last": np.array([-1]),
    "least": np.array(SMALLEST_ROW, np.float32),
    "step": np.array(1 / INT8.largest, np.float32),
    "zero": np.array(INT8.zero, np.uint8),
    "zeros": np.full(ROWS, INT8.zero, np.uint8),
}
MAGNITUDE = [
    ("Abs", ["left"], ["magnitude"], {}),
    ("ReduceMax", ["magnitude", "last"], ["largest"], {}),
    ("Clip", ["largest", "least"], ["row"], {}),
]
DIVISION = [
    ("Div", ["left", "row"], ["even"], {}),
    ("QuantizeLinear", ["even", "step", "zero"], ["out"], {}),
]
SCALINGS: dict[str, list[tuple[str, list[str], list[str], dict[str, Any]]]] = {
    "as exported": [*MAGNITUDE, *DIVISION],
    "maximum of x and of -x": [
        ("ReduceMax", ["left", "last"], ["highest"], {}),
        ("ReduceMin", ["left", "last"], ["lowest"], {}),
        ("Neg", ["lowest"], ["deepest"], {}),
        ("Max", ["highest", "deepest", "least"], ["row"], {}),
        *DIVISION,
    ],
    "a scale of each row": [
        *MAGNITUDE,
        ("Mul", ["row", "step"], ["steps"], {}),
        ("Squeeze", ["steps", "last"], ["scale"], {}),
        ("QuantizeLinear", ["left", "scale", "zeros"], ["out"], {"axis": 0}),
    ],
}
"""Nodes of graphs from float32 [L, in] to uint8, and to the row's largest magnitude."""


def session_of(nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, tuple[int, Sequence[Any]]], out: int) -> Any:
    """Session with one thread of a graph whose output is ``out``.

    Args:
        nodes: nodes in order.
        inputs: inputs, name -> element type and shape.
        out: type of the output's elements.
    """
    taken = {name for node in nodes for name in node.input}
    graph = onnx.helper.make_graph(
        nodes,
        "piece",
        [onnx.helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [onnx.helper.make_tensor_value_info("out", out, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in CONSTANTS.items() if name in taken],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = onnx.helper.make_model(graph, opset_imports=OPSETS, ir_version=10).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def scalings(left: Array) -> dict[str, Callable[[], Array]]:
    """Calls that bring rows into 8 bits: -> uint8 [L, in], by name.

    Args:
        left: activations, float32 [`ROWS`, in].
    """
    found: dict[str, Callable[[], Array]] = {}
    for name, steps in SCALINGS.items():
        nodes = [onnx.helper.make_node(kind, taken, given, **how) for kind, taken, given, how in steps]
        session = session_of(nodes, {"left": (FLOAT, left.shape)}, onnx.TensorProto.UINT8)
        found[name] = lambda session=session: session.run(None, {"left": left})[0]
    return found


def attentions(rows: int) -> dict[str, Callable[[], Array]]:
    """Causal attention over so many tokens with the queries in blocks: -> float32 [1, heads, L, head size]."""
    kv = (FLOAT, [1, KV_HEADS, "keys", HEAD_SIZE])
    inputs = {
        "q": (FLOAT, [1, HEADS, "queries", HEAD_SIZE]),
        "k": kv,
        "v": kv,
        "mask": (onnx.TensorProto.BOOL, [1, 1, "queries", "keys"]),
    }
    session = session_of([onnx.helper.make_node("Attention", list(inputs), ["out"])], inputs, FLOAT)
    draw = np.random.default_rng(0)
    q, k, v = (draw.standard_normal((1, heads, rows, HEAD_SIZE), np.float32) for heads in (HEADS, KV_HEADS, KV_HEADS))
    mask = np.tril(np.ones((rows, rows), bool))[None, None]

    def in_blocks(count: int) -> Callable[[], Array]:
        bounds = [number * rows // count for number in range(count + 1)]
        cut = [
            {"q": q[:, :, begin:end], "k": k[:, :, :end], "v": v[:, :, :end], "mask": mask[:, :, begin:end, :end]}
            for begin, end in itertools.pairwise(bounds)
        ]
        feeds = [{name: np.ascontiguousarray(array) for name, array in each.items()} for each in cut]
        return lambda: np.concatenate([session.run(None, feed)[0] for feed in feeds], axis=2)

    return {f"{count} blocks": in_blocks(count) for count in BLOCKS}


def measure(width: int, repeats: int) -> dict[str, Any]:
    """Median CPU milliseconds of each piece on one core, with the environment.

    Args:
        width: width of the rows that are scaled.
        repeats: number of counted runs of each.
    """
    left = np.random.default_rng(0).standard_normal((ROWS, width), np.float32)
    found: dict[str, float] = {}
    for title, calls in (("rows scaled", scalings(left)), ("attention", attentions(ROWS))):
        for call in calls.values():
            call()
        taken = time_in_turns(calls, repeats, time.process_time)
        found |= {f"{title}, {name}": each.median for name, each in taken.items()}
    return {"environment": describe(1), "rows": ROWS, "width": width, "cpu_ms": found}
