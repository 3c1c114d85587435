"""What graphs are held to."""

from __future__ import annotations

import onnx

TOLERANCE = 1e-5
FORBIDDEN = {"NonZero", "ScatterND", "ScatterElements", "GatherND", "Loop", "If", "Scan", "Compress", "Unique"}


def describe(value: onnx.ValueInfoProto):
    kind = value.type.tensor_type
    axes = tuple(d.dim_param if d.HasField("dim_param") else d.dim_value for d in kind.shape.dim)
    return value.name, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name, axes
