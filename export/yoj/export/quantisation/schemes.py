"""Schemes of matrices in 8 or 4 bits: their tracing, and the same computation in PyTorch.

Shapes: ... rows of tokens, in and out the widths of a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

Scheme: TypeAlias = Literal["int8", "int8_static", "fp8", "int8_weights", "int4_weights"]
Stored: TypeAlias = Literal["float", "int8", "fp8", "int8_blocks", "int4_blocks"]
STORED: dict[Scheme, Stored] = {
    "int8": "int8",
    "int8_static": "int8",
    "fp8": "fp8",
    "int8_weights": "int8_blocks",
    "int4_weights": "int4_blocks",
}
LARGEST = {"int8": 127.0, "fp8": 448.0}
"""Largest value of int8 without -128, so that it is symmetric, and of float8_e4m3fn."""
ZERO = 128
"""Zero of unsigned activations, with which ONNX Runtime's CPU kernels multiply in 8 bits."""
SMALLEST_ROW = 2.0**-14
"""Smallest scale of a row, the smallest normal number of float16."""
BLOCK = 128
"""Number of inputs that share a scale, for weights in blocks."""
ACCURACY_INT8 = 4
"""``accuracy_level`` of ONNX Runtime's MatMulNBits: activations in int8 by row and block."""


class QuantisedProjection(nn.Module):
    """`Projection` that multiplies 8-bit activations by 8-bit weights; its bias stays in float.

    Weights have a scale for each output. Activations have one scale, known when the graph is built; by default each row
    is first divided by its largest magnitude, and its products are multiplied by it again, which is exact because a
    factor of a row commutes with a product from the right. Otherwise the scale is that of the static range.
    """

    def __init__(self, width: int, out: int, scheme: Scheme, bias: bool = False):
        super().__init__()
        self.stored: Literal["int8", "fp8"] = "fp8" if scheme == "fp8" else "int8"
        self.static = scheme == "int8_static"
        self.weight = nn.Parameter(torch.empty(width, out))
        self.weight_scale = nn.Parameter(torch.empty(out))
        self.input_scale = nn.Parameter(torch.empty(()))
        self.bias = nn.Parameter(torch.empty(out)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply: [..., in] -> [..., out], in the scale's precision."""
        out = self._scaled(x, self.weight, self.weight_scale)
        return out if self.bias is None else out + self.bias

    def part(self, x: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Compute some of the outputs: [..., in] -> [..., stop - start]."""
        out = self._scaled(x, self.weight[:, start:stop], self.weight_scale[start:stop])
        return out if self.bias is None else out + self.bias[start:stop]

    def _scaled(self, x: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
        x = x.to(weight_scale.dtype)
        if self.static:
            return self._product(x, weight, weight_scale)
        row = x.abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST_ROW)
        return self._product(x / row, weight, weight_scale) * row

    def _product(self, x: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting():
            return torch.matmul(self._rounded(x), weight.to(x.dtype) * weight_scale)
        dtype = torch.uint8 if self.stored == "int8" else torch.float8_e4m3fn
        zero = torch.full((), ZERO if self.stored == "int8" else 0, dtype=dtype)
        scale = self.input_scale.to(x.dtype)
        quantised = _symbolic("QuantizeLinear", [x, scale, zero], dtype, x.shape)
        x = _symbolic("DequantizeLinear", [quantised, scale, zero], x.dtype, x.shape)
        weights = [weight, weight_scale]
        return torch.matmul(x, _symbolic("DequantizeLinear", weights, x.dtype, weight.shape, axis=1))

    def _rounded(self, x: torch.Tensor) -> torch.Tensor:
        scale, largest = self.input_scale.to(x.dtype), LARGEST[self.stored]
        if self.stored == "fp8":
            return (x / scale).clamp(-largest, largest).to(torch.float8_e4m3fn).to(x.dtype) * scale
        # Unsigned with 128 for zero reaches one step further down; ties go to even, as in ONNX.
        return (x / scale).round().clamp(-largest - 1, largest) * scale


class BlockProjection(nn.Module):
    """Projection whose weights alone are in 8 or 4 bits: ONNX Runtime's MatMulNBits, for CPUs."""

    def __init__(self, width: int, out: int, scheme: Scheme, bias: bool = False):
        super().__init__()
        self.bits, self.width, self.out = (8 if scheme == "int8_weights" else 4), width, out
        blocks = math.ceil(width / BLOCK)
        self.weight = nn.Parameter(torch.empty(out, blocks, BLOCK * self.bits // 8))
        self.weight_scale = nn.Parameter(torch.empty(out, blocks))
        self.bias = nn.Parameter(torch.empty(out)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply: [..., in] -> [..., out], in the scale's precision."""
        out = self._product(x, self.weight, self.weight_scale)
        return out if self.bias is None else out + self.bias

    def part(self, x: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Compute some of the outputs: [..., in] -> [..., stop - start]."""
        out = self._product(x, self.weight[start:stop], self.weight_scale[start:stop])
        return out if self.bias is None else out + self.bias[start:stop]

    def _product(self, x: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor) -> torch.Tensor:
        x, out = x.to(weight_scale.dtype), weight.shape[0]
        if not torch.compiler.is_exporting():
            return F.linear(x, unpack_blocks(weight, weight_scale, self.bits)[:, : self.width])
        sizes = {"K": self.width, "N": out, "bits": self.bits, "block_size": BLOCK}
        operator, attributes = "com.microsoft::MatMulNBits", sizes | {"accuracy_level": ACCURACY_INT8}
        return _symbolic(operator, [x, weight, weight_scale], x.dtype, (*x.shape[:-1], out), **attributes)


class QuantisedEmbedding(nn.Module):
    """Table with 8-bit rows, each with a scale."""

    def __init__(self, rows: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))
        self.weight_scale = nn.Parameter(torch.empty(rows, 1))

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        """Look up rows: [...] -> [..., width], in the scale's precision."""
        rows = F.embedding(index, self.weight)
        return rows.to(self.weight_scale.dtype) * F.embedding(index, self.weight_scale)


@dataclass(frozen=True)
class StorageTransform:
    """Transform of a float32 tensor of the checkpoint, laid out as the graph wants it, before it is stored."""

    stored: Stored = "float"
    scale: bool = False
    """Whether the tensor is the scale that belongs to the values, and not the values."""
    rows: bool = False
    """Whether each row has a scale, as in a table, and not each column."""
    times: str | None = None
    """Name of the factors of its rows, [in]."""
    over: str | None = None
    """Name of the divisors of its last dimension."""
    factors: dict[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor], compare=False)

    def dtype(self, of_graph: torch.dtype) -> torch.dtype:
        """Type in which the tensor is stored in a graph with this precision."""
        if self.scale or self.stored == "float":
            return of_graph
        return {"int8": torch.int8, "fp8": torch.float8_e4m3fn}.get(self.stored, torch.uint8)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape in which the tensor is stored, from that of the float32 one."""
        if self.stored.endswith("blocks"):
            width, out = shape
            bits = 8 if self.stored == "int8_blocks" else 4
            return (out, math.ceil(width / BLOCK), *(() if self.scale else (BLOCK * bits // 8,)))
        if not self.scale:
            return shape
        return (shape[0], 1) if self.rows else shape[1:]

    def apply(self, tensor: torch.Tensor, of_graph: torch.dtype) -> torch.Tensor:
        """Stored tensor from float32 [in, out], or from a block of the rows of a table."""
        if self.times is not None:
            tensor = tensor * self.factors[self.times].unsqueeze(-1)
        if self.over is not None:
            tensor = tensor / self.factors[self.over]
        if self.stored == "float":
            return tensor.to(of_graph)
        if self.stored in ("int8_blocks", "int4_blocks"):
            values, scale = pack_blocks(tensor, 8 if self.stored == "int8_blocks" else 4, of_graph)
        else:
            values, scale = quantise(tensor, self.stored, -1 if self.rows else 0, of_graph)
        return scale.to(of_graph) if self.scale else values


AS_IT_IS = StorageTransform()
"""Kinds that are stored in the precision of the graph."""


def quantise(
    tensor: torch.Tensor, stored: Literal["int8", "fp8"], dim: int, scale_dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise symmetrically to values and a scale of each slice along ``dim``.

    The largest magnitude of a slice becomes the largest value. The values are those of the scale as it will be stored,
    so that its own rounding adds no error.
    """
    keep = dim == -1
    largest = tensor.abs().amax(dim=dim, keepdim=keep).clamp(min=SMALLEST_ROW)
    scale = (largest / LARGEST[stored]).to(scale_dtype).float()
    values = tensor / scale
    if stored == "fp8":
        return values.clamp(-LARGEST["fp8"], LARGEST["fp8"]).to(torch.float8_e4m3fn), scale
    return values.round().clamp(-LARGEST["int8"], LARGEST["int8"]).to(torch.int8), scale


def pack_blocks(tensor: torch.Tensor, bits: int, scale_dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Pack [in, out] into unsigned values [out, blocks, bytes] with the middle for zero, and scales [out, blocks].

    The layout of MatMulNBits, https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md: two values
    of 4 bits share a byte, the first in its lower half.
    """
    width, out = tensor.shape
    blocks = math.ceil(width / BLOCK)
    padded = F.pad(tensor.t(), (0, blocks * BLOCK - width)).reshape(out, blocks, BLOCK)
    middle = 1 << (bits - 1)
    largest = padded.abs().amax(dim=-1).clamp(min=SMALLEST_ROW)
    scale = (largest / (middle - 1)).to(scale_dtype).float()
    values = ((padded / scale.unsqueeze(-1)).round().clamp(1 - middle, middle - 1) + middle).to(torch.uint8)
    if bits == 4:
        values = values[..., 0::2] | (values[..., 1::2] << 4)
    return values.contiguous(), scale


def unpack_blocks(values: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """Unpack [out, blocks, bytes] and [out, blocks] to float [out, blocks * BLOCK], the inverse."""
    if bits == 4:
        values = torch.stack([values & 15, values >> 4], dim=-1).flatten(-2)
    return ((values.to(scale.dtype) - (1 << (bits - 1))) * scale.unsqueeze(-1)).flatten(1)


def _symbolic(operator: str, inputs: Sequence[torch.Tensor], dtype: torch.dtype, shape: Any, **attributes: int) -> Any:
    return torch.onnx.ops.symbolic(operator, inputs, dict(attributes), dtype=dtype, shape=shape)
