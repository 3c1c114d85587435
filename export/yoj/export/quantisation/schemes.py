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

SMALLEST_ROW = 2.0**-14
"""Smallest scale of a row, the smallest normal number of float16."""
BLOCK = 128
"""Number of inputs that share a scale, for weights in blocks."""
ACCURACY_INT8 = 4
"""``accuracy_level`` of ONNX Runtime's MatMulNBits: activations in int8 by row and block."""


@dataclass(frozen=True, kw_only=True)
class ChannelStorage:
    """Storage of whole values with a scale for each output of a matrix, or for each row of a table."""

    dtype: torch.dtype
    largest: float
    """Largest magnitude of a stored value."""
    activations: torch.dtype
    """Type of the activations that are multiplied by the values."""
    zero: int
    """Stored value that stands for zero in the activations."""

    def projection(self, width: int, out: int, static: bool, bias: bool) -> QuantisedProjection:
        """Make a matrix [width, out] of this storage, without values."""
        return QuantisedProjection(width, out, self, static, bias)

    def shape(self, shape: tuple[int, ...], rows: bool, scale: bool) -> tuple[int, ...]:
        """Shape of the values, or of their scale, from that of the tensor."""
        if not scale:
            return shape
        return (shape[0], 1) if rows else shape[1:]

    def pack(self, tensor: torch.Tensor, rows: bool, scale_dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and scales of a float32 tensor; see `quantise`."""
        return quantise(tensor, self, -1 if rows else 0, scale_dtype)

    def cast(self, values: torch.Tensor) -> torch.Tensor:
        """Values that were divided by their scale, as they are stored."""
        if not self.dtype.is_floating_point:
            values = values.round()
        return values.clamp(-self.largest, self.largest).to(self.dtype)


@dataclass(frozen=True, kw_only=True)
class BlockStorage:
    """Storage of unsigned integers in blocks of `BLOCK` inputs, each with a scale; activations stay in float."""

    bits: Literal[4, 8]
    dtype: torch.dtype = torch.uint8

    def projection(self, width: int, out: int, static: bool, bias: bool) -> BlockProjection:
        """Make a matrix [width, out] of this storage, without values."""
        del static
        return BlockProjection(width, out, self, bias)

    def shape(self, shape: tuple[int, ...], rows: bool, scale: bool) -> tuple[int, ...]:
        """Shape of the values, or of their scale, from that of the matrix [in, out]."""
        del rows
        width, out = shape
        return (out, math.ceil(width / BLOCK), *(() if scale else (BLOCK * self.bits // 8,)))

    def pack(self, tensor: torch.Tensor, rows: bool, scale_dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and scales of a float32 matrix [in, out]; see `pack_blocks`."""
        del rows
        return pack_blocks(tensor, self.bits, scale_dtype)


Storage: TypeAlias = ChannelStorage | BlockStorage
# int8 goes without -128, so that it is symmetric. Its activations are unsigned with 128 for zero: with them ONNX
# Runtime's CPU kernels multiply in 8 bits.
INT8 = ChannelStorage(dtype=torch.int8, largest=127.0, activations=torch.uint8, zero=128)
FP8 = ChannelStorage(dtype=torch.float8_e4m3fn, largest=448.0, activations=torch.float8_e4m3fn, zero=0)
STORAGES: dict[str, Storage] = {
    "int8": INT8,
    "fp8": FP8,
    "int8_blocks": BlockStorage(bits=8),
    "int4_blocks": BlockStorage(bits=4),
}
"""Name of a storage in `yoj.runtime.schemes.Scheme.storage` -> the storage."""


class QuantisedProjection(nn.Module):
    """`Projection` that multiplies 8-bit activations by 8-bit weights; its bias stays in float.

    Weights have a scale for each output. Activations have one scale, known when the graph is built; by default each row
    is first divided by its largest magnitude, and its products are multiplied by it again, which is exact because a
    factor of a row commutes with a product from the right. Otherwise the scale is that of the static range.
    """

    def __init__(self, width: int, out: int, storage: ChannelStorage, static: bool, bias: bool):
        super().__init__()
        self.storage, self.static = storage, static
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
        dtype = self.storage.activations
        zero = torch.full((), self.storage.zero, dtype=dtype)
        scale = self.input_scale.to(x.dtype)
        quantised = _symbolic("QuantizeLinear", [x, scale, zero], dtype, x.shape)
        x = _symbolic("DequantizeLinear", [quantised, scale, zero], x.dtype, x.shape)
        weights = [weight, weight_scale]
        return torch.matmul(x, _symbolic("DequantizeLinear", weights, x.dtype, weight.shape, axis=1))

    def _rounded(self, x: torch.Tensor) -> torch.Tensor:
        scale, largest = self.input_scale.to(x.dtype), self.storage.largest
        if self.storage.dtype.is_floating_point:
            return self.storage.cast(x / scale).to(x.dtype) * scale
        # Unsigned with 128 for zero reaches one step further down; ties go to even, as in ONNX.
        return (x / scale).round().clamp(-largest - 1, largest) * scale


class BlockProjection(nn.Module):
    """Projection whose weights alone are in 8 or 4 bits: ONNX Runtime's MatMulNBits, for CPUs."""

    def __init__(self, width: int, out: int, storage: BlockStorage, bias: bool):
        super().__init__()
        self.bits, self.width, self.out = storage.bits, width, out
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

    storage: Storage | None = None
    """Storage of the values; None: in the precision of the graph."""
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
        return of_graph if self.scale or self.storage is None else self.storage.dtype

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape in which the tensor is stored, from that of the float32 one."""
        return shape if self.storage is None else self.storage.shape(shape, self.rows, self.scale)

    def apply(self, tensor: torch.Tensor, of_graph: torch.dtype) -> torch.Tensor:
        """Stored tensor from float32 [in, out], or from a block of the rows of a table."""
        if self.times is not None:
            tensor = tensor * self.factors[self.times].unsqueeze(-1)
        if self.over is not None:
            tensor = tensor / self.factors[self.over]
        if self.storage is None:
            return tensor.to(of_graph)
        values, scale = self.storage.pack(tensor, self.rows, of_graph)
        return scale.to(of_graph) if self.scale else values


AS_IT_IS = StorageTransform()
"""Kinds that are stored in the precision of the graph."""


def quantise(
    tensor: torch.Tensor, storage: ChannelStorage, dim: int, scale_dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise symmetrically to values and a scale of each slice along ``dim``.

    The largest magnitude of a slice becomes the largest value. The values are those of the scale as it will be stored,
    so that its own rounding adds no error.
    """
    keep = dim == -1
    largest = tensor.abs().amax(dim=dim, keepdim=keep).clamp(min=SMALLEST_ROW)
    scale = (largest / storage.largest).to(scale_dtype).float()
    return storage.cast(tensor / scale), scale


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
