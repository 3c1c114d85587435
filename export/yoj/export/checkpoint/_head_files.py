"""File of a value head: tensors by name, from safetensors or from a pickle that may hold nothing else."""

from __future__ import annotations

from pathlib import Path

import torch

from .._errors import CheckpointError
from ._tensor_files import read_tensors

HEAD_FILES = ("value_head.safetensors", "value_head.pt", "value_head.bin")
"""Names under which trainers save a head apart from the backbone, the one that is read first in front."""


def head_files(folder: Path) -> list[Path]:
    """Files of a head that a folder has."""
    return [folder / name for name in HEAD_FILES if (folder / name).is_file()]


def read_head_file(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """Tensors of a folder's head by name, as stored, dense and real, with the file that they are from.

    Raises:
        CheckpointError: there is no head, it is damaged or holds something else, or two files differ.
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


def _difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> str | None:
    """First tensor in which two heads differ; None where they are the same."""
    if a.keys() != b.keys():
        return f"one has {', '.join(sorted(a))}, the other {', '.join(sorted(b))}"
    for key, value in a.items():
        if value.shape != b[key].shape:
            return f"{key} is {tuple(value.shape)} in one and {tuple(b[key].shape)} in the other"
        mine, theirs = value.double(), b[key].double()
        if not torch.equal(mine, theirs):
            return f"{key} differs by up to {(mine - theirs).abs().max().item():.3g}"
    return None
