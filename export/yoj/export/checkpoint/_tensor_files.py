"""Files of tensors that are read whole: pickles, which may hold nothing else, and small safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .._errors import CheckpointError


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Tensors of a file that is read whole, by name, as stored.

    Raises:
        CheckpointError: the file is damaged, or holds something else than dense tensors of floating point numbers by
            name.
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
        raise CheckpointError(f"{file} does not hold tensors by name. Save a state_dict() there.")
    if strange := [key for key in content if not isinstance(key, str)]:
        raise CheckpointError(
            f"{file} has {strange[0]!r} where the name of a tensor belongs. Save a state_dict() there."
        )
    if problems := [f"{key} is {told}" for key, value in content.items() if (told := _unusable(value))]:
        raise CheckpointError(
            f"{file}: {'; '.join(problems)}; dense tensors of floating point numbers are read. Save "
            "{name: tensor.to_dense().float().cpu() ...} of what was trained."
        )
    return content


def _unusable(tensor: Any) -> str | None:
    """Fault of a tensor that shows before its values are read; None where there is none."""
    if tensor.is_meta:
        return "on the meta device, without values"
    if tensor.layout != torch.strided or tensor.is_nested:
        return f"stored as {'nested tensors' if tensor.is_nested else str(tensor.layout).removeprefix('torch.')}"
    if tensor.is_quantized or not tensor.is_floating_point():
        return f"of {str(tensor.dtype).removeprefix('torch.')} numbers"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"{tuple(tensor.shape)}, more values than are stored"
    return None
