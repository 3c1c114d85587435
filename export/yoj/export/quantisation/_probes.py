"""Small products with known results, one for each scheme of quantised matrices, that the runtime ships and tries.

``python -m yoj.export.quantisation._probes`` writes them anew. They are traced from the modules that an export traces,
so that ONNX Runtime takes the same kernels for them.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import torch

from yoj.runtime.engines import exact
from yoj.runtime.engines.unsigned import HIGHEST_BIT
from yoj.runtime.schemes import SCHEMES

from ..graph.modules import Projection
from ..graph.write import OPSET, forget_origin
from ._unsigned import make_unsigned
from .config import RANGE, QuantisationConfig, QuantisationSpec, quantised_module

NAME = "probe"
TRACED_ROWS = 5


def model_of(scheme: str, dtype: torch.dtype) -> ir.Model:
    """Graph float32 [L, WIDTH] -> float32 [L, OUT] of a product with `yoj.runtime.engines.exact.weights`.

    Args:
        scheme: one of `yoj.runtime.engines.exact.LARGEST_WEIGHT`.
        dtype: base precision, float32 or float16.
    """
    whole = Projection(exact.WIDTH, exact.OUT, bias=False)
    whole.weight.data = torch.from_numpy(exact.weights(scheme)).float()
    spec = QuantisationSpec(scheme=scheme, layers=(NAME,), checkpoint={})
    layer = quantised_module(
        whole, QuantisationConfig(spec, {RANGE + NAME: torch.tensor(exact.LARGEST_ACTIVATION)}), NAME
    )
    for name, value in list(layer.named_parameters()):
        if value.dtype == torch.float32:
            # A product of float16 would leave its range: the scale of the weights brings it back.
            value = value * exact.SCALE if name == "weight_scale" else value
            dtype_of = torch.float32 if name == "input_scale" else dtype
            setattr(layer, name, torch.nn.Parameter(value.to(dtype_of), requires_grad=False))
    rows = torch.export.Dim("L")
    program = torch.onnx.export(
        _Whole(layer, dtype),
        (torch.zeros(TRACED_ROWS, exact.WIDTH),),
        dynamo=True,
        optimize=True,
        opset_version=OPSET,
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=({0: rows},),
        verbose=False,
    )
    assert program is not None
    forget_origin(program.model)
    return program.model


def unsigned(model: ir.Model) -> onnx.ModelProto:
    """Graph of the same product with an unsigned matrix."""
    changed = ir.to_proto(model)
    for matrix in make_unsigned(changed):
        matrix.raw_data = (np.frombuffer(matrix.raw_data, np.uint8) ^ HIGHEST_BIT).tobytes()
    return changed


def write() -> None:
    """Write all graphs into the runtime's folder."""
    for scheme in SCHEMES:
        if scheme not in exact.LARGEST_WEIGHT:
            continue
        for name in exact.ARITHMETIC:
            ir.save(model_of(scheme, getattr(torch, name)), exact.probe(scheme, name))
    for scheme in exact.UNSIGNED:
        onnx.save(unsigned(model_of(scheme, torch.float32)), exact.probe(scheme, "float32", unsigned=True))


class _Whole(torch.nn.Module):
    """Product from float32 to float32, whatever it computes in itself."""

    def __init__(self, layer: torch.nn.Module, dtype: torch.dtype):
        super().__init__()
        self.layer, self.dtype = layer, dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.to(self.dtype)).float()


if __name__ == "__main__":
    write()
