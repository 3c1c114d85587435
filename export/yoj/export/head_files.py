"""The file of a value head: tensors by name, from safetensors or from a pickle that may hold nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .errors import CheckpointError

HEAD_FILES = ("value_head.safetensors", "value_head.pt", "value_head.bin")
"""Where trainers save a head apart from the backbone, the one that is read first."""


def head_files(folder: Path) -> list[Path]:
    """The files of a head that a folder has."""
    return [folder / name for name in HEAD_FILES if (folder / name).is_file()]


def read_head_file(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """The tensors of a folder's head by name, as stored, dense and real, with the file that they are from.

    Raises:
        CheckpointError: there is none, it is damaged or holds something else, or two files differ.
    """
    files = head_files(folder)
    if not files:
        raise CheckpointError(
            f"{folder} has no value_head.safetensors or value_head.pt, so there is nothing that scores. Copy the file "
            "from the training checkpoint; a head is never made up."
        )
    file, *others = files
    tensors = read_tensors(file)
    for other in others:
        if differs := _difference(tensors, read_tensors(other)):
            raise CheckpointError(
                f"{file} and {other.name} beside it hold different heads: {differs}. Remove the one that is not the "
                "trained one."
            )
    return file, tensors


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a small file by name, as stored.

    Raises:
        CheckpointError: it is damaged, or holds something else than dense tensors of floating point numbers by name.
    """
    try:
        content = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except (Exception, SafetensorError) as error:  # a pickle raises whatever the classes it names do
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{file} cannot be read as tensors: {reason}. Copy it again; a file that needs more than tensors is not "
            "loaded."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise CheckpointError(f"{file} does not hold a head's tensors by name. Save head.state_dict() there.")
    if strange := [key for key in content if not isinstance(key, str)]:
        raise CheckpointError(
            f"{file} has {strange[0]!r} where the name of a tensor belongs. Save head.state_dict() there."
        )
    if problems := [f"{key} is {told}" for key, value in content.items() if (told := _unusable(value))]:
        raise CheckpointError(
            f"{file}: {'; '.join(problems)}; a head has dense tensors of floating point numbers. Save "
            "{name: tensor.to_dense().float().cpu() ...} of the trained head."
        )
    return content


def _unusable(tensor: Any) -> str | None:
    """What is wrong with a tensor before its values are looked at; None where nothing is."""
    if tensor.is_meta:
        return "on the meta device, without values"
    if tensor.layout != torch.strided or tensor.is_nested:
        return f"stored as {'nested tensors' if tensor.is_nested else str(tensor.layout).removeprefix('torch.')}"
    if tensor.is_quantized or not tensor.is_floating_point():
        return f"of {str(tensor.dtype).removeprefix('torch.')} numbers"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"{tuple(tensor.shape)}, more values than are stored"
    return None


def _difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> str | None:
    """Where two heads differ, by the first tensor that does; None where they are the same."""
    if a.keys() != b.keys():
        return f"one has {', '.join(sorted(a))}, the other {', '.join(sorted(b))}"
    for key, value in a.items():
        if value.shape != b[key].shape:
            return f"{key} is {tuple(value.shape)} in one and {tuple(b[key].shape)} in the other"
        mine, theirs = value.double(), b[key].double()
        if not torch.equal(mine, theirs):
            return f"{key} differs by up to {(mine - theirs).abs().max().item():.3g}"
    return None
