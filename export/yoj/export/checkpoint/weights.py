"""Tensors of a checkpoint, read one at a time, with adapters merged in float32 as they are read.

Nothing here holds the model: a 4B export reads one tensor, hands it on and forgets it.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from .._errors import CheckpointError
from ..quantisation.schemes import AS_IT_IS, StorageTransform
from ._edits import Edit, Replaced
from ._text_files import read_json

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
LARGEST_HEADER = 100_000_000
"""Largest header in bytes that the safetensors library reads."""
ROW_BYTES = 64 * 2**20
"""Bytes of a block of rows in which large tables are read."""


@dataclass(frozen=True)
class StoredTensor:
    """Place of a tensor in a safetensors file."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    """Offset of the tensor's first byte in the file."""

    def rows(self, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows ``start`` to ``stop`` of the first dimension, in the stored dtype.

        Read with plain reads: pages of a mapped file would count as this process's memory.
        """
        first, *rest = self.shape or (1,)
        stop = first if stop is None else stop
        row = self.dtype.itemsize * math.prod(rest)
        data = bytearray((stop - start) * row)
        with self.file.open("rb") as stream:
            stream.seek(self.offset + start * row)
            if stream.readinto(data) != len(data):
                raise CheckpointError(f"{self.file} ends before its tensors do. Copy the checkpoint again.")
        shape = (stop - start, *rest) if self.shape else ()
        return torch.frombuffer(data, dtype=self.dtype).reshape(shape) if data else torch.empty(shape, dtype=self.dtype)


@dataclass(frozen=True)
class TensorSource:
    """Rule by which one tensor of a graph is made from the checkpoint."""

    names: tuple[str, ...]
    """Names in the checkpoint; several are joined along the first dimension."""
    transpose: bool = False
    """Whether the checkpoint stores [out, in] while the graph multiplies by [in, out]."""
    flatten: bool = False
    """Whether the checkpoint stores a kernel [out, ...] that is as large as its stride: its values are the [in] of a
    transposed matrix."""
    change: StorageTransform = AS_IT_IS
    """Transform of the tensor before it is stored."""
    cut: tuple[int, int, int] | None = None
    """Axis, start and stop of the slice that is kept in the end; None for all. Only for transposed tensors."""


class Weights:
    """Tensors of the checkpoint by name, with adapters merged."""

    def __init__(self, tensors: Mapping[str, StoredTensor], edits: Mapping[str, Sequence[Edit]] | None = None):
        self._tensors = dict(tensors)
        self._edits = dict(edits or {})
        self._shapes = {name: stored.shape for name, stored in tensors.items()}
        for name, of_tensor in self._edits.items():
            for edit in of_tensor:
                self._shapes[name] = edit.shape_after(name, self._shapes[name])
        self._last: tuple[tuple[str, ...], torch.Tensor] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def names(self) -> list[str]:
        """Names of all tensors."""
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the merged tensor; only an adapter that brings a resized table changes it."""
        return self._shapes[name]

    def read(self, name: str) -> torch.Tensor:
        """One merged tensor, float32: the base's, after all changes in their order."""
        return self._before(name, None)

    def _before(self, name: str, until: Edit | None) -> torch.Tensor:
        """Tensor after the changes that come before one of them."""
        edits = list(self._edits.get(name, ()))
        edits = edits[: edits.index(until)] if until in edits else edits
        first = edits[0].change if edits and edits[0].whole(self._tensors[name].shape) else None
        if isinstance(first, Replaced):  # a table need not be read to be forgotten
            value, edits = first.by.rows().float(), edits[1:]
        else:
            value = self._tensors[name].rows().float()
        for edit in edits:
            value = self._edited(value, name, edit)
        return value

    def _edited(self, value: torch.Tensor, name: str, edit: Edit) -> torch.Tensor:
        whole = [
            (value if piece.name == name else self._before(piece.name, edit))[piece.start : piece.stop]
            for piece in edit.pieces
        ]
        after = edit.change.apply(whole[0] if len(whole) == 1 else torch.cat(whole))
        number = edit.names.index(name)
        offset = sum(map(len, whole[:number]))
        last = number == len(whole) - 1  # a resized table has its new rows in the last piece
        own = after[offset:] if last else after[offset : offset + len(whole[number])]
        piece = edit.pieces[number]
        if (piece.start, piece.stop) == (0, len(value)):
            return own
        return torch.cat([value[: piece.start], own, value[piece.stop :]])

    def source_shapes(self, source: TensorSource) -> list[tuple[int, ...]]:
        """Shapes of the existing sources, as they are joined."""
        shapes = [self.shape(name) for name in source.names if name in self]
        return [(shape[0], math.prod(shape[1:])) if source.flatten else shape for shape in shapes]

    def stored_shape(self, source: TensorSource) -> tuple[int, ...]:
        """Shape of the joined blocks that `blocks` yields."""
        shapes = self.source_shapes(source)
        joined = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        shape = source.change.shape(joined[::-1] if source.transpose else joined)
        if source.cut is None:
            return shape
        axis, start, stop = source.cut
        return (*shape[:axis], stop - start, *shape[axis + 1 :])

    def blocks(self, source: TensorSource, dtype: torch.dtype) -> Iterator[torch.Tensor]:
        """Tensor as consecutive blocks of rows, as a graph of precision ``dtype`` stores it.

        Only tensors that are neither merged nor transposed come in more than one block: embedding tables, the
        largest of all.
        """
        if source.transpose:
            whole = source.change.apply(self._matrix(source), dtype)
            axis, start, stop = source.cut or (0, 0, len(whole))
            yield whole.narrow(axis, start, stop - start).contiguous()
            return
        for name in source.names:
            stored = self._tensors[name]
            if name in self._edits or not stored.shape:
                yield source.change.apply(self.read(name), dtype)
                continue
            step = max(1, ROW_BYTES // max(1, stored.dtype.itemsize * math.prod(stored.shape[1:])))
            for start in range(0, stored.shape[0], step):
                rows = stored.rows(start, min(start + step, stored.shape[0]))
                yield rows.to(dtype) if source.change == AS_IT_IS else source.change.apply(rows.float(), dtype)

    def _matrix(self, source: TensorSource) -> torch.Tensor:
        """Merged and transposed tensor, float32 [in, out]. The last one is kept: its scale is made after its values."""
        if self._last is None or self._last[0] != source.names:
            joined = torch.cat([self.read(name) for name in source.names])
            self._last = source.names, (joined.flatten(1) if source.flatten else joined).t()
        return self._last[1]


def read_folder(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of the safetensors shards in a folder, from the files' headers alone.

    With an index file, the shards that it names; otherwise every ``*.safetensors`` but the value head's.

    Raises:
        CheckpointError: there are no shards, a shard is missing, or a header is damaged.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict):
            raise CheckpointError(f"{index} has no weight_map. Copy it again.")
        files = [folder / name for name in sorted(set(shards.values()))]
    else:
        files = sorted(path for path in folder.glob("*.safetensors") if path.name != "value_head.safetensors")
    if missing := [str(file) for file in files if not file.is_file()]:
        raise CheckpointError(f"{index} names shards that are not there: {', '.join(missing)}. Copy them next to it.")
    if not files:
        raise CheckpointError(
            f"{folder} holds no *.safetensors. Save the model with save_pretrained(safe_serialization=True)."
        )
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        found = read_header(file)
        check_gathered(file, {name: stored.shape for name, stored in found.items()})
        if twice := sorted(tensors.keys() & found.keys()):
            raise CheckpointError(
                f"{file} repeats tensors of another file, {twice[0]} among them. Remove the one that does not belong."
            )
        tensors |= found
    return tensors


def read_header(file: Path) -> dict[str, StoredTensor]:
    """Tensors of one safetensors file, from its header (https://huggingface.co/docs/safetensors, Format).

    Raises:
        CheckpointError: the header is damaged, the file is shorter than it says, or a dtype is not a float.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        try:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length)) if length < min(size, LARGEST_HEADER) else None
        except (struct.error, ValueError, RecursionError) as error:
            raise CheckpointError(f"{file} is not a safetensors file: {error}. Copy it again.") from error
    if header is not None and not isinstance(header, dict):
        raise CheckpointError(f"{file} is not a safetensors file: its header is no object. Copy it again.")
    if header is None:
        raise CheckpointError(f"{file} is cut off: its header alone is {length:,} bytes long. Copy it again.")
    _check_sound(file, header, size - 8 - length)
    tensors: dict[str, StoredTensor] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise CheckpointError(f"{file}: {name} is {entry['dtype']}; only {', '.join(DTYPES)} can be exported.")
        tensors[name] = StoredTensor(
            file, DTYPES[entry["dtype"]], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0]
        )
    return tensors


def _check_sound(file: Path, header: dict[str, Any], size: int) -> None:
    """Whether every entry lies inside the ``size`` bytes of data, has the bytes of its shape, and no two overlap."""
    for name, entry in header.items():
        offsets = entry.get("data_offsets") if isinstance(entry, dict) and name != "__metadata__" else None
        end = offsets[-1] if isinstance(offsets, list) and offsets else 0
        if isinstance(end, int) and end > size:
            raise CheckpointError(f"{file} is cut off: {name} ends beyond its {size:,} bytes of data. Copy it again.")
    try:
        with safe_open(file, "np"):  # the library checks the whole header, and reads no tensor
            return
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{file} is not a sound safetensors file: {error}. Copy it again.") from error


def check_gathered(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse the file of a training that was spread over GPUs and not put together before it was saved.

    Raises:
        CheckpointError: some tensors are empty.
    """
    empty = [name for name, shape in shapes.items() if shape == (0,)]
    if empty:
        raise CheckpointError(
            f"{file}: {len(empty)} of {len(shapes)} tensors are empty, {empty[0]} among them: it was saved under "
            "DeepSpeed ZeRO-3 (or FSDP) without gathering the parameters, so the values are not in it. Save again with "
            "stage3_gather_16bit_weights_on_model_save (deepspeed.zero.GatheredParameters around save_pretrained), or "
            "put the training's checkpoint together with its zero_to_fp32.py."
        )


def write_blocks(weights: Weights, source: TensorSource, dtype: torch.dtype) -> Iterator[bytes]:
    """Tensor as raw little-endian bytes, block by block."""
    for block in weights.blocks(source, dtype):
        yield block.reshape(-1).view(torch.uint8).numpy().tobytes()
