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
    stored = {t.name: t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL}
    matrices: list[tuple[int, int]] = []
    zeros: set[int] = set()
    for node in model.graph.node:
        matrix = stored.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if matrix is None or matrix.data_type != onnx.TensorProto.INT8:
            continue
        place = {entry.key: int(entry.value) for entry in matrix.external_data if entry.key != "location"}
        matrices.append((place["offset"], place["length"]))
        matrix.data_type = onnx.TensorProto.UINT8
        width = matrix.dims[-1]
        zeros.add(width)
        node.input.append(_zero(width))
    if not matrices:
        return None
    for width in sorted(zeros):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(width, ZERO, np.uint8), _zero(width)))
    again = str(Path(file).with_suffix(".unsigned.onnx"))
    onnx.save(model, folder / again)
    return Unsigned(file=Path(again).as_posix(), matrices=tuple(sorted(matrices)))


def _zero(width: int) -> str:
    return f"zero_of_{width}"
