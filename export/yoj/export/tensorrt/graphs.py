"""Graphs as TensorRT takes them: the schemes of quantised matrices that GPUs have, and the form of the graphs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from yoj.runtime.errors import EngineError
from yoj.runtime.schemes import SCHEMES

from ..graph._blocked_attention import join_queries

QUANTISING = ("QuantizeLinear", "DequantizeLinear")
FIRST_TARGET = {name: scheme.first_target for name, scheme in SCHEMES.items() if scheme.first_target is not None}
"""Scheme that TensorRT builds -> the first compute capability, times ten, that has it."""


def check_scheme(precision: str, targets: Sequence[str]) -> None:
    """Refuse a build that is impossible, before it begins.

    Args:
        precision: precision of the bundle.
        targets: targets such as ``sm86`` or ``sm80+``.

    Raises:
        EngineError: a target lacks the scheme; the text lists the schemes that each target has.
    """
    if precision not in SCHEMES:
        return
    first = FIRST_TARGET.get(precision)
    unfit = [name for name in targets if first is None or _capability(name) < first]
    if unfit:
        have = "; ".join(
            f"{name}: {', '.join(scheme for scheme, least in FIRST_TARGET.items() if _capability(name) >= least)}"
            for name in targets
        )
        raise EngineError(
            f"TensorRT has no products of {precision} for {', '.join(unfit)}. It has, of the quantised schemes, for "
            f"{have}. Choose matrices for such a scheme with yoj-calibrate quantisation --scheme, or export in float16."
        )


@contextlib.contextmanager
def for_tensorrt(file: Path) -> Generator[Path, None, None]:
    """Graph in the form that TensorRT takes; the file itself where it is in that form.

    Attention in blocks becomes the operator again. Activations become signed: unsigned with 128 for zero, as ONNX
    Runtime's CPU kernels want them, they are the same numbers, but TensorRT takes no zero but 0. Rows of an 8-bit
    table are scaled before they are looked up, as TensorRT takes 8-bit constants in front of a DequantizeLinear
    only.

    Args:
        file: graph of the bundle, with the weights that it names beside it.
    """
    model = onnx.load(file, load_external_data=False)
    if not (join_queries(model) | _sign(model.graph) | _scale_rows(model.graph)):
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        for other in file.parent.iterdir():  # the weights
            (Path(folder) / other.name).symlink_to(other)
        changed = Path(folder) / file.name
        changed.unlink()
        onnx.save(model, changed)
        yield changed


def _capability(target: str) -> int:
    return int(target.removeprefix("sm").removesuffix("+"))


def _sign(graph: onnx.GraphProto) -> bool:
    uses = {node.input[2] for node in graph.node if node.op_type in QUANTISING and len(node.input) > 2}
    zeros = [t for t in graph.initializer if t.name in uses and t.data_type == onnx.TensorProto.UINT8]
    for tensor in zeros:
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((), np.int8), tensor.name))
    for value in graph.value_info:
        if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8 and zeros:
            value.type.tensor_type.elem_type = onnx.TensorProto.INT8
    return bool(zeros)


def _scale_rows(graph: onnx.GraphProto) -> bool:
    """Rewrite Gather(table) x Gather(scale) as Gather(DequantizeLinear(table, scale))."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    readers = {name: node for node in graph.node for name in node.input}
    tables = {name for name, tensor in tensors.items() if tensor.data_type == onnx.TensorProto.INT8}
    gathers = [node for node in graph.node if node.op_type == "Gather" and node.input[0] in tables]
    for gather in gathers:
        table, cast = gather.input[0], readers[gather.output[0]]
        product = readers[cast.output[0]]
        scale = tensors[f"{table}_scale"]
        del scale.dims[1:]
        rows = onnx.helper.make_node("DequantizeLinear", [table, scale.name], [f"{table}_float"], axis=0)
        gather.input[0], gather.output[0] = rows.output[0], product.output[0]
        other = next(node for node in graph.node if node.op_type == "Gather" and node.input[0] == scale.name)
        for node in (cast, product, other):
            graph.node.remove(node)
        graph.node.insert(0, rows)
    return bool(gathers)
