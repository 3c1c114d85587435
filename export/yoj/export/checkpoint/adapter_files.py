"""Files of an adapter: found, and read as tensors by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from .._errors import CheckpointError
from ._edits import Stored
from ._tensor_files import read_tensors
from .weights import check_gathered, read_header

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""Names of weight files, of which PEFT takes the first that exists."""
TRAINED_WHOLE = ("non_lora_state_dict.bin", "non_lora_trainables.bin")
"""Names under which fine-tuning scripts after LLaVA's save everything else that was trained, beside the adapter."""
NOT_OF_THE_TRUNK = (
    *("training_args.bin", "optimizer*.bin", "scheduler*.bin", "sampler*.bin"),
    *("*value_head*", "*v_head*", "*reward_head*"),
)
"""Other files with the endings of weights that may lie there: files of the training, and heads, which are read
apart."""
OF_A_MODEL = ("tokenizer.json", "tokenizer_config.json", "chat_template*", "*processor_config.json", "*value_head*")
"""Names of a model's files beside its weights."""


@dataclass(frozen=True)
class HeldTensor:
    """Tensor of a file that can only be read whole."""

    value: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stored tensor."""
        return tuple(self.value.shape)

    def rows(self, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows ``start`` to ``stop`` of the first dimension, in the stored dtype."""
        return self.value[start:stop] if self.value.ndim else self.value


def adapter_folder(folder: Path) -> Path | None:
    """Folder of an adapter: the given one or, where it was saved under a name of its own, one below.

    A whole model has none, whatever lies below.

    Raises:
        CheckpointError: there are several adapters.
    """
    if (folder / ADAPTER_CONFIG).is_file():
        return folder
    if (folder / "config.json").is_file() and any(folder.glob("model*.safetensors")):
        return None
    named = sorted(file.parent for file in folder.glob(f"*/{ADAPTER_CONFIG}"))
    named = [below for below in named if not below.name.startswith("checkpoint-")]
    if len(named) > 1:
        raise CheckpointError(
            f"{folder} holds several adapters: {', '.join(below.name for below in named)}. Give the folder of one, "
            f"for example {named[0]}; or several, in the order in which they are applied."
        )
    return named[0] if named else None


def home_folder(given: Path, adapter: Path, settings: str) -> Path:
    """Folder of head, tokenizer and processor: the given one, or the adapter's below it.

    Args:
        given: the given folder.
        adapter: folder of its adapter.
        settings: name of the file that tells which of the two it is.

    Raises:
        CheckpointError: some of the files lie in the other folder, where they would not be read.
    """
    home, other = (adapter, given) if (adapter / settings).is_file() else (given, adapter)
    for pattern in () if home == other else OF_A_MODEL:
        if any(other.glob(pattern)) and not any(home.glob(pattern)):
            raise CheckpointError(
                f"{other} has {next(other.glob(pattern)).name}, but {settings} is in {home} or missing. Put the head, "
                f"its settings, tokenizer and processor into one of the two folders, as {home}."
            )
    return home


def trained_whole(folder: Path) -> list[Path]:
    """Files of tensors that were trained beside an adapter; those of a named adapter may lie in the folder above."""
    named = not (folder.parent / ADAPTER_CONFIG).is_file() and not folder.name.startswith("checkpoint-")
    places = (folder, folder.parent) if named else (folder,)
    return [place / name for place in places for name in TRAINED_WHOLE if (place / name).is_file()]


def read_adapter_tensors(folder: Path) -> dict[str, tuple[Path, Stored]]:
    """Every tensor of an adapter and of what was trained beside it, with the file that it is from.

    Raises:
        CheckpointError: there are no weights, a file that is damaged or needs more than tensors, empty tensors,
            tensors in two files, or another file with weights, of which nobody knows what it is.
    """
    file = next((folder / name for name in ADAPTER_WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise CheckpointError(
            f"{folder} has no {' or '.join(ADAPTER_WEIGHTS)}. Save the adapter with save_pretrained of PEFT."
        )
    _check_others(folder, file)
    tensors: dict[str, tuple[Path, Stored]] = {}
    for source in (file, *trained_whole(folder)):
        found = read_header(source) if source.suffix == ".safetensors" else _read_whole(source)
        check_gathered(source, {name: stored.shape for name, stored in found.items()})
        if twice := sorted(tensors.keys() & found.keys()):
            raise CheckpointError(
                f"{source} repeats tensors of {file.name}, {twice[0]} among them. Remove the one that does not belong."
            )
        tensors |= {name: (source, stored) for name, stored in found.items()}
    return tensors


def check_one_kind(folder: Path) -> None:
    """Refuse a folder that holds a whole model and an adapter.

    Raises:
        CheckpointError: the folder holds both; the text names the file to remove.
    """
    whole = sorted(folder.glob("model*.safetensors"))
    names = (*ADAPTER_WEIGHTS, *TRAINED_WHOLE, ADAPTER_CONFIG)
    beside = [str(folder / name) for name in names if (folder / name).is_file()]
    if whole and beside:
        raise CheckpointError(
            f"{folder} holds a whole model, {whole[0].name}, and files of an adapter. If that is merged already, "
            f"remove {', '.join(beside)}; if it is not, move these to a folder of their own, and give the model with "
            "--base."
        )


def _check_others(folder: Path, weights: Path) -> None:
    known = {weights.name, *ADAPTER_WEIGHTS, *TRAINED_WHOLE}
    others = [
        file
        for pattern in ("*.safetensors", "*.bin")
        for file in sorted(folder.glob(pattern))
        if file.name not in known and not any(file.match(pattern) for pattern in NOT_OF_THE_TRUNK)
    ]
    if others:
        raise CheckpointError(
            f"{others[0]} lies beside an adapter, and what it changes is not known: read are "
            f"{', '.join((*ADAPTER_WEIGHTS, *TRAINED_WHOLE))}. If the model was trained with it, merge it into the "
            "base and give that with --base; then, or if it was not, move it away."
        )


def _read_whole(file: Path) -> dict[str, HeldTensor]:
    return {name: HeldTensor(tensor.detach()) for name, tensor in read_tensors(file).items()}
