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

from .schemes import INT8


def write_unsigned(folder: Path, file: str) -> Unsigned | None:
    """Write ``<name>.unsigned.onnx`` beside a graph: the same, but for the type and the zero of its 8-bit matrices.

    Its references into the weight file stay as they are: who reads it flips the highest bit of each byte there.

    Args:
        folder: folder of the bundle.
        file: path of the graph in it.

    Returns:
        Entry for the manifest; None, and nothing is written, where the graph has no 8-bit matrices.
    """
    model = onnx.load(folder / file, load_external_data=False)
    matrices = make_unsigned(model)
    if not matrices:
        return None
    again = Path(file).with_suffix(".unsigned.onnx")
    onnx.save(model, folder / again)
    return Unsigned(file=again.as_posix(), matrices=tuple(sorted(_place(matrix) for matrix in matrices)))


def make_unsigned(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Give 8-bit matrices that are dequantised another type and the zero 128; their values are left to the caller.

    Returns:
        Matrices, which are tensors of the model.
    """
    signed = {t.name: t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8}
    readers = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in signed]
    matrices = list({node.input[0]: signed[node.input[0]] for node in readers}.values())  # and no tables
    for node in readers:
        node.input.append(_zero(signed[node.input[0]].dims[-1]))
    for matrix in matrices:
        matrix.data_type = onnx.TensorProto.UINT8
    for width in sorted({matrix.dims[-1] for matrix in matrices}):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(width, INT8.zero, np.uint8), _zero(width)))
    return matrices


def _place(tensor: onnx.TensorProto) -> tuple[int, int]:
    """First byte and length of a matrix in the weight file."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return int(entries["offset"]), int(entries["length"])


def _zero(width: int) -> str:
    return f"zero_of_{width}"
