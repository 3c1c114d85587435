"""PyTorch modules that trace into few ONNX operators. Parameters carry the names of the released checkpoints.

Shapes: B requests, L tokens, N responses, J named dimensions, V visual tokens, D hidden size, H heads,
E values of a head.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..checkpoint.head import READOUTS, ReadoutKind, TrainedHead, transposed
from ._key_value_cache import KeyValueCache


class Projection(nn.Module):
    """Linear layer whose weight is stored as the graph multiplies by it, [in, out]: no Transpose in the graph."""

    def __init__(self, width: int, out: int, bias: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, out))
        self.bias = nn.Parameter(torch.empty(out)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply: [..., in] -> [..., out], in the weight's precision."""
        out = torch.matmul(x.to(self.weight.dtype), self.weight)
        return out if self.bias is None else out + self.bias

    def part(self, x: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Compute some of the outputs: [..., in] -> [..., stop - start]."""
        out = torch.matmul(x.to(self.weight.dtype), self.weight[:, start:stop])
        return out if self.bias is None else out + self.bias[start:stop]


def split_product(projection: nn.Module, inputs: Sequence[torch.Tensor], sizes: Sequence[int]) -> list[torch.Tensor]:
    """Compute the outputs of one projection in parts, one after the other, of ``sizes``.

    In graphs each part is a product of its own, with columns that are stored apart, since a Split copies; and each has
    an input of its own, which may be fewer rows. In PyTorch, where something may stand in the projection's place, the
    inputs are all the same.
    """
    if not torch.compiler.is_exporting():
        return list(projection(inputs[0]).split(list(sizes), dim=-1))
    ends = list(itertools.accumulate(sizes))
    part: Any = projection.part
    return [part(x, end - size, end) for x, size, end in zip(inputs, sizes, ends, strict=True)]


class WideProjection(Projection):
    """Projection whose output float16 may not hold, as no norm bounds it: float32 where weights are float16."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply: [..., in] -> [..., out]."""
        out = torch.matmul(upcast(x), upcast(self.weight))
        return out if self.bias is None else out + self.bias


def upcast(x: torch.Tensor) -> torch.Tensor:
    """Upcast float16 to float32: the sums between layers, and visual features, reach beyond its 65,504."""
    return x.float() if x.dtype == torch.float16 else x


class RMSNorm(nn.Module):
    """RMS norm that exports as one RMSNormalization."""

    def __init__(self, width: int, eps: float, wide: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps
        self.wide = wide
        """Whether the output is float32 in every precision."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise [..., width] in the weight's precision.

        The mean of the squares is float32 in every precision (``stash_type`` 1 in ONNX).
        """
        x = x.float() if self.wide else x
        out = F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)
        return out if self.wide else out.to(self.weight.dtype)


class LayerNorm(nn.LayerNorm):
    """Layer norm as PyTorch's; float32 sums may come in where the weights are float16."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise [..., width] in the weight's precision."""
        weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
        return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps).to(self.weight.dtype)


class Rotary(nn.Module):
    """Cosines and sines of the rotary position embedding, float32."""

    def __init__(self, theta: float, head_size: int):
        super().__init__()
        self.theta, self.head_size = theta, head_size
        self.inv_freq = nn.Parameter(torch.empty(head_size // 2))

    def frequencies(self) -> torch.Tensor:
        """Value of ``inv_freq``: theta^(-2i / head size), float32 [E / 2]. Not in the checkpoint."""
        exponent = torch.arange(0, self.head_size, 2, dtype=torch.float32) / self.head_size
        return 1.0 / (self.theta**exponent)

    def forward(self, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines [B, L, E / 2] of positions [B, L]."""
        angle = position_ids.unsqueeze(-1).float() * self.inv_freq
        return angle.cos(), angle.sin()


class MultiAxisRotary(Rotary):
    """Rotary embedding in which each frequency turns with one of three axes: time, row or column."""

    def __init__(self, theta: float, head_size: int, sections: Sequence[int]):
        super().__init__(theta, head_size)
        self.sections = sections
        self.axis = nn.Parameter(torch.empty(head_size // 2, dtype=torch.int64), requires_grad=False)

    def axes(self) -> torch.Tensor:
        """Value of ``axis`` for each frequency, int64 [E / 2]. Rows and columns take turns with time."""
        axis = torch.zeros(self.head_size // 2, dtype=torch.int64)
        for number in (1, 2):
            axis[number : 3 * self.sections[number] : 3] = number
        return axis

    def forward(self, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines [B, L, E / 2] of positions on three axes, [B, 3, L]."""
        # A Gather and not a product with ones and zeros: a GPU may round the factors of a product.
        position_BLE = position_ids.float().index_select(1, self.axis).transpose(1, 2)
        angle = position_BLE * self.inv_freq
        return angle.cos(), angle.sin()


def rotate(x_BHLE: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the halves of each head in float32; exports as one RotaryEmbedding, which PyTorch cannot differentiate."""
    dtype, x_BHLE = x_BHLE.dtype, x_BHLE.float()
    if torch.compiler.is_exporting():
        return torch.onnx.ops.rotary_embedding(x_BHLE, cos, sin).to(dtype)
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    first, second = x_BHLE.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(dtype)


def causal(
    ids_BL: torch.Tensor, segment_ids_BL: torch.Tensor | None = None, rows_BN: torch.Tensor | None = None
) -> torch.Tensor:
    """Mask of the keys that a query sees: those before it and, with segments, of the prompt (0) and of its own segment.

    Returns:
        Mask, bool [1, L, L], or [B, L, L] with segments, or [B, N, L] where only some rows are queries.
    """
    index_1L = torch.arange(ids_BL.shape[1], device=ids_BL.device).unsqueeze(0)
    query_BN = index_1L if rows_BN is None else rows_BN.clamp(min=0)
    before = index_1L.unsqueeze(1) <= query_BN.unsqueeze(-1)
    if segment_ids_BL is None:
        return before
    key = segment_ids_BL.unsqueeze(1)
    return before & ((key == 0) | (key == at_rows(segment_ids_BL, rows_BN)))


def at_rows(ids_BL: torch.Tensor, rows_BN: torch.Tensor | None) -> torch.Tensor:
    """Numbers of some rows [B, N, 1], or of all [B, L, 1], from a number for each token; row -1 gives that of row 0."""
    return gather_rows(ids_BL.unsqueeze(-1), rows_BN)


def gather_rows(x_BLD: torch.Tensor, rows_BN: torch.Tensor | None) -> torch.Tensor:
    """Gather rows of each request, [B, N, D], or all as they are; row -1 gives row 0. Exports as one Gather."""
    if rows_BN is None:
        return x_BLD
    batch, length, width = x_BLD.shape
    offset = torch.arange(batch, device=rows_BN.device).unsqueeze(1) * length
    return F.embedding(rows_BN.clamp(min=0) + offset, x_BLD.reshape(batch * length, width))


def prunes_last_layer(rows_BN: torch.Tensor | None) -> bool:
    """Whether the last layer computes only the rows that are read, as in graphs, from which only scores are wanted.

    In PyTorch calibration looks at what goes into its matrices, and training reads other rows too.
    """
    return rows_BN is not None and torch.compiler.is_exporting()


@dataclass(frozen=True)
class AttentionContext:
    """Inputs of attention in the trunk beside the hidden states."""

    mask: torch.Tensor | None
    """Mask, bool [B, 1, L, L], or [B, 1, N, L] with rows; without one each token attends to those before it."""
    cos: torch.Tensor
    sin: torch.Tensor
    """[B, L, E / 2]."""
    rows_BN: torch.Tensor | None = None
    """Rows that are queries, and come out of the layer; None for all."""
    cache: KeyValueCache | None = None
    """Keys and values of earlier runs; None where all tokens are read at once."""

    def queries(self, x_BLD: torch.Tensor) -> torch.Tensor:
        """Gather those rows, [B, N, D]."""
        return gather_rows(x_BLD, self.rows_BN)

    def rotate(self, q_BHNE: torch.Tensor, k_BHLE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotate queries and keys to their positions."""
        return rotate(q_BHNE, self.queries(self.cos), self.queries(self.sin)), rotate(k_BHLE, self.cos, self.sin)

    def behind_past(self, k_BHLE: torch.Tensor, v_BHLE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Put the next layer's keys and values behind those of earlier runs, where there are some."""
        return (k_BHLE, v_BHLE) if self.cache is None else self.cache.extend(k_BHLE, v_BHLE)


def insert_features(embeds_BLD: torch.Tensor, features_VD: torch.Tensor, index_BL: torch.Tensor) -> torch.Tensor:
    """Gather rows of visual features where ``index_BL`` is k+1, zeros where it is 0; exports as one Gather."""
    features_VD = features_VD.to(embeds_BLD.dtype)
    table = torch.cat([torch.zeros_like(features_VD[:1]), features_VD])
    return F.embedding(index_BL, table)


def traced_head(head: TrainedHead) -> nn.Module:
    """Value head with weights as the graph multiplies by them; `head_constants` has their values."""
    return head.make(functools.partial(Projection, bias=True))


def head_constants(head: TrainedHead, prefix: str) -> dict[str, torch.Tensor]:
    """Values of the parameters of `traced_head`, float32."""
    return {prefix + key: value for key, value in transposed(head.tensors).items()}


class Readout(nn.Module):
    """Final norm, read-out and value head on the rows that are scored; float32 from the norm on.

    The norm is an identity where the head was trained on the states before it. What a head with two outputs, a
    Gaussian one, means by them: `yoj.export.checkpoint.head.TrainedHead`.
    """

    def __init__(self, norm: nn.Module, head: TrainedHead, divisor: float):
        super().__init__()
        self.norm = [norm]  # in a list, because its parameter belongs to the trunk and keeps its name there
        self.readout = head.readout
        self.divisor = divisor
        self.value_head = traced_head(head)
        self.named = bool(head.dimensions)
        names = ("scores", "spread")[: head.outputs]
        axes: tuple[int | str, ...] = ("B", "N", len(head.dimensions)) if self.named else ("B", "N")
        self.graph_outputs: dict[str, tuple[int | str, ...]] = dict.fromkeys(names, axes)

    @property
    def kind(self) -> ReadoutKind:
        """Read-out of the responses' tokens."""
        return READOUTS[self.readout]

    @property
    def needs_start(self) -> bool:
        """Whether the first token of each response is read."""
        return self.kind.row != "last"

    def rows(self, end_BN: torch.Tensor, start_BN: torch.Tensor | None = None) -> torch.Tensor | None:
        """Row of the trunk's output that is read for each response, [B, N]; None where it is more than one."""
        return None if self.kind.row is None else {"last": end_BN, "first": start_BN}[self.kind.row]

    def forward(
        self, hidden_BLD: torch.Tensor, end_BN: torch.Tensor, start_BN: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Scores [B, N], -inf where ``end_BN`` is -1, from hidden states before the final norm, of `rows` or of all.

        With a Gaussian head scores and spread [B, N], the sigma of each score, 0 where ``end_BN`` is -1. It is not
        calibrated: sigma cannot be identified from preferences alone (arXiv 2605.11865). Of a head with named
        dimensions each is [B, N, J].
        """
        out, absent = self.outputs(hidden_BLD, end_BN, start_BN), end_BN < 0
        absent = absent.unsqueeze(-1) if self.named else absent
        if len(self.graph_outputs) == 1:
            return out.squeeze(-1).masked_fill(absent, float("-inf"))
        mean, log_sigma = out.unbind(-1)
        return mean.masked_fill(absent, float("-inf")), log_sigma.exp().masked_fill(absent, 0.0)

    def outputs(
        self, hidden_BLD: torch.Tensor, end_BN: torch.Tensor, start_BN: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Outputs of the head from hidden states before the final norm, of `rows` or of all.

        [B, N, outputs], or [B, N, J, outputs] of a head with named dimensions, divided by the head's divisor; without
        meaning where ``end_BN`` is -1.
        """
        return self.value_head(self._read(hidden_BLD, end_BN, start_BN)) / self.divisor

    def _read(self, hidden_BLD: torch.Tensor, end_BN: torch.Tensor, start_BN: torch.Tensor | None) -> torch.Tensor:
        norm = self.norm[0]
        if self.kind.row is not None:
            return norm(hidden_BLD).float()
        assert start_BN is not None
        if self.kind.of is None:
            return _mean(norm(hidden_BLD).float(), start_BN, end_BN)
        first, last = (norm(gather_rows(hidden_BLD, index_BN)).float() for index_BN in (start_BN, end_BN))
        return self.kind.of(first, last)


def _mean(hidden_BLD: torch.Tensor, start_BN: torch.Tensor, end_BN: torch.Tensor) -> torch.Tensor:
    """Mean over start..end, both included; a matrix product, so that no shape depends on data."""
    position = torch.arange(hidden_BLD.shape[1], device=hidden_BLD.device)
    inside = (position >= start_BN.unsqueeze(-1)) & (position <= end_BN.unsqueeze(-1))
    weight_BNL = inside.to(hidden_BLD.dtype)
    return torch.matmul(weight_BNL, hidden_BLD) / weight_BNL.sum(dim=-1, keepdim=True).clamp(min=1)
