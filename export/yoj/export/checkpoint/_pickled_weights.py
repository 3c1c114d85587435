"""Tensors of a file that ``torch.save`` wrote, by their places in it, so that they can be read one at a time."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from .._errors import CheckpointError
from .weights import DTYPES, StoredTensor, check_gathered

LITTLE = b"little"


def read_pickled(file: Path) -> dict[str, StoredTensor]:
    """Every tensor of a state dict, or of the one under ``model``, by name. No value is read.

    The pickle may hold nothing but tensors, so that no code of the file is run.

    Raises:
        CheckpointError: the file is damaged, of the form before PyTorch 1.6, or holds something else than dense tensors
            of floating point numbers by name.
    """
    _check_archive(file)
    try:
        with FakeTensorMode():  # each storage then knows its place in the file, and takes no memory
            content = torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # a pickle raises whatever the classes it names do
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{file} cannot be read as tensors: {reason}. Copy it again; a file that needs more than tensors is not "
            "loaded."
        ) from error
    content = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(f"{file} does not hold tensors by name. Save a state_dict() there.")
    size = file.stat().st_size
    found: dict[str, StoredTensor] = {}
    for name, value in content.items():
        problem = _unusable(value) if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"
        if problem:
            raise CheckpointError(f"{file}: {name} is {problem}. Save a state_dict() of dense tensors there.")
        storage: Any = value.untyped_storage()
        begin = storage._checkpoint_offset + value.storage_offset() * value.dtype.itemsize
        if begin + value.numel() * value.dtype.itemsize > size:
            raise CheckpointError(f"{file} ends before {name} does. Copy it again.")
        found[name] = StoredTensor(file, value.dtype, tuple(value.shape), begin)
    check_gathered(file, {name: stored.shape for name, stored in found.items()})
    return found


def _check_archive(file: Path) -> None:
    """Refuse a file whose tensors do not stand in it as they are in memory."""
    try:
        with zipfile.ZipFile(file) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
            orders = [archive.read(name) for name in archive.namelist() if name.endswith("/byteorder")]
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise CheckpointError(
            f"{file} is no file of torch.save from PyTorch 1.6 on, or is damaged: {error}. Copy it again, or load it "
            "in PyTorch and save its state_dict() with save_file of safetensors."
        ) from error
    if packed or any(order.strip() != LITTLE for order in orders):
        problem = f"{packed[0]} is compressed" if packed else "it was written on a machine of the other byte order"
        raise CheckpointError(f"{file}: {problem}. Load it in PyTorch and save its state_dict() again.")


def _unusable(tensor: torch.Tensor) -> str | None:
    """Fault of a tensor that cannot be read from its place; None where there is none."""
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized:
        return f"no dense tensor ({tensor.layout})"
    if tensor.dtype not in DTYPES.values():
        return f"of {str(tensor.dtype).removeprefix('torch.')} numbers, where {', '.join(DTYPES)} are read"
    if not hasattr(tensor.untyped_storage(), "_checkpoint_offset"):
        return "without a place in the file"
    if not tensor.is_contiguous():
        return "a view of another order"
    room = tensor.untyped_storage().nbytes() - tensor.storage_offset() * tensor.dtype.itemsize
    if tensor.numel() * tensor.dtype.itemsize > room:
        return f"{tuple(tensor.shape)}, more values than are stored"
    return None
