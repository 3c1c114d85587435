"""Graphs with unsigned 8-bit matrices, beside those with signed ones and on the same weight file.

ONNX Runtime's kernels want signed weights on CPUs with VNNI, and on x86 CPUs without it are exact for unsigned ones
alone. It can convert them when it loads a graph, but slowly, and then holds them twice.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper

from yoj.runtime.manifest import Unsigned

from .quantised import ZERO


def write_unsigned(folder: Path, file: str) -> Unsigned | None:
    """Write ``<name>.unsigned.onnx`` beside a graph: the same, but for the type and the zero of its 8-bit matrices.

    Its references into the weight file stay as they are: who reads it flips the highest bit of each byte there.

    Args:
        folder: of the bundle.
        file: path of the graph in it.

    Returns:
        The manifest's entry; None, and nothing is written, where the graph has no 8-bit matrices.
    """
    model = onnx.load(folder / file, load_external_data=False)
    matrices: list[tuple[int, int]] = []
    for matrix in make_unsigned(model):
        place = {entry.key: int(entry.value) for entry in matrix.external_data if entry.key != "location"}
        matrices.append((place["offset"], place["length"]))
    if not matrices:
        return None
    again = str(Path(file).with_suffix(".unsigned.onnx"))
    onnx.save(model, folder / again)
    return Unsigned(file=Path(again).as_posix(), matrices=tuple(sorted(matrices)))


def make_unsigned(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Give 8-bit matrices that are dequantised another type and the zero 128; their values are left to the caller.

    Returns:
        The matrices, which are tensors of the model.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    found: list[onnx.TensorProto] = []
    for node in model.graph.node:
        matrix = stored.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if matrix is None or matrix.data_type != onnx.TensorProto.INT8:
            continue
        matrix.data_type = onnx.TensorProto.UINT8
        found.append(matrix)
        node.input.append(_zero(matrix.dims[-1]))
    for width in sorted({matrix.dims[-1] for matrix in found}):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(width, ZERO, np.uint8), _zero(width)))
    return found


def _zero(width: int) -> str:
    return f"zero_of_{width}"
