"""Changes of an adapter to the tensors of the base model: one class for each kind.

The arithmetic is that of PEFT's ``merge_and_unload`` on a model in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import torch

Start: TypeAlias = Literal["pissa", "olora"]


class Stored(Protocol):
    """Tensor that lies in a file, or is held because its file can only be read whole."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stored tensor."""
        ...

    def rows(self, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows ``start`` to ``stop`` of the first dimension, in the stored dtype."""
        ...


@dataclass(frozen=True)
class RowRange:
    """Rows of a tensor of the base."""

    name: str
    start: int
    stop: int


class Change(Protocol):
    """Change of the tensor that an adapter names."""

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """Changed tensor, float32 from float32; see the classes for shapes."""
        ...


@dataclass(frozen=True, eq=False)
class Edit:
    """Change of one tensor, as the model that was trained has it."""

    pieces: tuple[RowRange, ...]
    """Places of the tensor's rows in the base, which may hold several of its tensors in one, or one of them in
    several."""
    change: Change

    @property
    def names(self) -> tuple[str, ...]:
        """Tensors of the base that are changed."""
        return tuple(piece.name for piece in self.pieces)

    def whole(self, shape: tuple[int, ...]) -> bool:
        """Whether the change covers all rows of one tensor of this shape."""
        return len(self.pieces) == 1 and (self.pieces[0].start, self.pieces[0].stop) == (0, shape[0])

    def shape_after(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one of those tensors; a resized table has its new rows in the last one."""
        if not isinstance(self.change, Replaced) or name != self.names[-1]:
            return shape
        kept = sum(piece.stop - piece.start for piece in self.pieces[:-1])
        last = self.pieces[-1]
        return (shape[0] - (last.stop - last.start) + self.change.by.shape[0] - kept, *shape[1:])


@dataclass(frozen=True)
class LowRank:
    """LoRA of a matrix or a kernel: W + scale * B @ A; with DoRA each output is then scaled to its learned length."""

    down: Stored
    """lora_A, [rank, in], or [rank, in, ...] of a convolution."""
    up: Stored
    """lora_B, [out, rank], or [out, rank, 1, ...] of a convolution."""
    scale: float
    magnitude: Stored | None = None
    """DoRA's lora_magnitude_vector, as many values as there are outputs."""
    start: Start | None = None
    """Part of W that was taken out before training began; None where nothing was."""

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """Changed matrix or kernel of the same shape [out, ...]."""
        up, down = (stored.rows().float().flatten(1) for stored in (self.up, self.down))
        if self.start is not None:
            tensor = tensor - _taken_out(tensor, self.start, down.shape[0], self.scale)
        tensor = tensor + (up @ down).reshape(tensor.shape) * self.scale
        if self.magnitude is None:
            return tensor
        length = torch.linalg.vector_norm(tensor.flatten(1), dim=1)
        factor = self.magnitude.rows().float().flatten() / length
        return factor.reshape(-1, *[1] * (tensor.ndim - 1)) * tensor


@dataclass(frozen=True)
class LowRankTable:
    """LoRA of an embedding table: W + scale * (B @ A) transposed; with DoRA each column is then scaled."""

    down: Stored
    """lora_embedding_A, [rank, rows]."""
    up: Stored
    """lora_embedding_B, [width, rank]."""
    scale: float
    magnitude: Stored | None = None
    """DoRA's lora_magnitude_vector, [width]."""

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """Changed table of the same shape [rows, width]."""
        tensor = tensor + (self.up.rows().float() @ self.down.rows().float()).t() * self.scale
        if self.magnitude is None:
            return tensor
        return tensor * (self.magnitude.rows().float().flatten() / torch.linalg.vector_norm(tensor, dim=0))


@dataclass(frozen=True)
class Replaced:
    """Tensor that was trained whole: biases, ``modules_to_save``, resized tables."""

    by: Stored

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """Tensor of the adapter, which may have another number of rows."""
        del tensor
        return self.by.rows().float()


@dataclass(frozen=True)
class Rows:
    """Rows of a table that were trained whole: ``trainable_token_indices``."""

    indices: tuple[int, ...]
    by: Stored
    """New rows, [indices, width]."""

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """Changed table of the same shape [rows, width]."""
        return tensor.index_copy(0, torch.tensor(self.indices), self.by.rows().float())


@dataclass(frozen=True)
class Added:
    """Bias of lora_B: b + scale * bias."""

    by: Stored
    """Bias to add, [out]."""
    scale: float

    def apply(self, tensor: torch.Tensor) -> torch.Tensor:
        """Changed bias of the same shape [out]."""
        return tensor + self.by.rows().float() * self.scale


def _taken_out(tensor: torch.Tensor, start: Start, rank: int, scale: float) -> torch.Tensor:
    """Part that PiSSA or OLoRA takes out of a weight [out, in] when training begins (``LoraLayer.pissa_init``).

    Signs of singular vectors and of QR's rows differ between machines; their product does not.
    """
    if start == "pissa":
        left, values, right = torch.linalg.svd(tensor, full_matrices=False)
        return (left[:, :rank] * values[:rank]) @ right[:rank]
    q, r = torch.linalg.qr(tensor)
    return scale * (q[:, :rank] @ r[:rank])
