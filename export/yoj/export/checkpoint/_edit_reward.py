"""Checkpoints of EditReward, a judge of edited pictures: full fine-tunes of Qwen3-VL with heads of several layers.

What its code (TIGER-AI-Lab/EditReward, b88f0bd) computes: the user turn shows the source picture, the edited one and a
text that quotes the instruction and ends with a special token, whose state after the final norm the heads read. Each
dimension has a text, and so a pass, of its own. The texts are not in the checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch

from yoj.runtime.manifest import Piece, Pooling

from .._errors import CheckpointError
from ._dimension_texts import DIMENSIONS, DimensionText, read_dimension_texts
from ._pickled_weights import read_pickled
from ._text_files import read_json
from ._trained_layouts import EDIT_REWARD, bare_name
from .head import TrainedHead, layer_prefixes
from .weights import StoredTensor, read_folder

MODEL_CONFIG = "model_config.json"
PICKLED = ("model.pth", "final_model.pth")
"""Files of a whole model, the one that is read first in front; else it is in safetensors."""
TOKENIZER_FOLDER = "tokenizer"
REWARD_TOKEN = "<|Reward|>"
TAIL = (
    Piece(kind="text", value="\nPlease provide the overall ratings of this image: "),
    Piece(kind="token", value=REWARD_TOKEN),
    Piece(kind="text", value="\n\nEND\n"),
)
"""Pieces that the code puts behind every text."""
HEAD_COUNTS = {
    "default": 1,
    "ranknet": 1,
    "ranknet_share_head": 1,
    "ranknet_multi_head": None,
    "ranknet_multi_head_regression": None,
}
"""Type of the head -> number of heads; None for one for each dimension."""
SHARED = "ranknet_share_head"
SHARED_DIMENSIONS = 2
GAUSSIAN_LOSSES = ("uncertainty", "uncertainty_with_margin")
"""Losses under which the second output is a log sigma."""
HEAD_TENSOR = re.compile(r"rm_head(?:s\.head_(?P<head>\d+))?(?:\.(?P<layer>\d+))?\.(?P<leaf>weight|bias)")


@dataclass(frozen=True)
class EditRewardFolder:
    """Files of one checkpoint."""

    folder: Path
    """Folder of the weights."""
    settings_file: Path
    settings: Mapping[str, Any]
    """Section ``model_config`` of ``model_config.json``."""
    base: Path | None
    """Folder of Qwen3-VL, for what the training did not save."""

    @property
    def places(self) -> tuple[Path, ...]:
        """Folders in which files of tokenizer, processor and configuration may be, the first to count in front."""
        run = self.settings_file.parent
        own = [self.folder, self.folder / TOKENIZER_FOLDER, run, run / TOKENIZER_FOLDER]
        return tuple(dict.fromkeys([*own, *([self.base] if self.base else [])]))

    def tensors(self) -> dict[str, StoredTensor]:
        """Tensors of the whole model by bare name, heads included.

        Raises:
            CheckpointError: there are none, or the model was trained with adapters.
        """
        pickled = next((self.folder / name for name in PICKLED if (self.folder / name).is_file()), None)
        found = read_folder(self.folder) if pickled is None else read_pickled(pickled)
        if adapters := next((name for name in found if ".lora_" in name), None):
            raise CheckpointError(
                f"{self.folder} holds {adapters}: it was trained with adapters, and only full fine-tunes are read "
                "in this layout. Merge them with merge_and_unload() and save the whole state_dict() as model.pth."
            )
        return {bare_name(name): stored for name, stored in found.items()}


def find_edit_reward(paths: Sequence[Path], base: Path | None) -> EditRewardFolder | None:
    """Find a checkpoint of this layout: the folder itself, or the newest ``checkpoint-N`` in the folder of a run.

    Raises:
        CheckpointError: it is one, and its backbone is another than Qwen3-VL.
    """
    for file in (paths[0] / MODEL_CONFIG, paths[0].parent / MODEL_CONFIG) if len(paths) == 1 else ():
        settings = read_json(file).get("model_config") if file.is_file() else None
        if isinstance(settings, dict) and "rm_head_type" in settings:
            break
    else:
        return None
    folder = paths[0]
    if not _has_weights(folder):
        steps = [child for child in folder.glob("checkpoint-*") if child.name.removeprefix("checkpoint-").isdigit()]
        steps = [child for child in steps if _has_weights(child)]
        if not steps:
            return None
        folder = max(steps, key=lambda child: int(child.name.removeprefix("checkpoint-")))
    found = EditRewardFolder(folder, file, settings, base)
    _check_backbone(found)
    return found


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in PICKLED) or any(folder.glob("*.safetensors"))


def _check_backbone(found: EditRewardFolder) -> None:
    file = next((place / "config.json" for place in found.places if (place / "config.json").is_file()), None)
    kind = read_json(file).get("model_type") if file else None
    named = found.settings.get("model_name_or_path")
    if file is None:
        raise CheckpointError(
            f"{found.folder} holds no config.json, and neither does a folder around it. Give the folder of the "
            f"backbone that {found.settings_file} names, {named!r}, with --base."
        )
    if kind != "qwen3_vl":
        raise CheckpointError(
            f"{file} says model_type {kind!r} (the training began with {named!r}); of EditReward's backbones yoj "
            "exports Qwen3-VL alone, not Qwen2.5-VL or MiMo-VL. Train the judge on Qwen3-VL."
        )


def read_edit_head(
    found: EditRewardFolder,
    tensors: Mapping[str, StoredTensor],
    hidden_size: int,
    given: Sequence[DimensionText] | None,
) -> TrainedHead:
    """Read the heads of a checkpoint and the texts of their dimensions.

    Args:
        found: the checkpoint.
        tensors: tensors of the model by bare name.
        hidden_size: D of the backbone.
        given: texts of the dimensions; None for the file ``dimensions.json`` of the checkpoint.

    Raises:
        CheckpointError: settings or tensors are none that the code writes, or texts are missing.
    """
    kind = _check_settings(found)
    heads = _heads(tensors)
    count = SHARED_DIMENSIONS if kind == SHARED else len(heads)
    if not heads or len(heads) != (HEAD_COUNTS[kind] or count) or sorted(heads) != list(range(len(heads))):
        raise CheckpointError(
            f"{found.folder} holds the heads {sorted(heads)}; a {kind} has {HEAD_COUNTS[kind] or 'them from 0 on'}."
        )
    texts = _texts(found, count, given)
    shared = [heads[0] if kind == SHARED else heads[number] for number in range(count)]
    outputs, notes = _outputs(found, shared[0])
    trained: dict[str, torch.Tensor] = {}
    for one, layers in zip(texts, shared, strict=True):
        trained |= _layers(found, one.name, layers, hidden_size, outputs)
    pooling = found.settings.get("pooling_strategy")
    known = get_args(Pooling) if kind != SHARED else ("mean", "min")
    return TrainedHead(
        "linear" if len(shared[0]) == 1 else "mlp",
        None if len(shared[0]) == 1 else "relu",
        "token",
        trained,
        outputs,
        layout=EDIT_REWARD,
        divides_by=1.0,
        notes=(f"edit_reward layout ({EDIT_REWARD.written_by}), {kind}, heads in {found.folder.name}", *notes),
        dimensions=tuple(one.name for one in texts),
        pooling=cast(Pooling, pooling) if pooling in known else "mean",
        asks=tuple((*one.pieces(), *TAIL) for one in texts),
    )


def _check_settings(found: EditRewardFolder) -> str:
    """Type of the head, where its settings are those that are read."""
    kind, problems = found.settings.get("rm_head_type"), list[str]()
    if not isinstance(kind, str) or kind not in HEAD_COUNTS:
        problems.append(f"rm_head_type is {kind!r}; known are {', '.join(HEAD_COUNTS)}")
    if found.settings.get("use_special_tokens") is not True:
        problems.append(
            f"use_special_tokens is {found.settings.get('use_special_tokens')!r}; only heads that read {REWARD_TOKEN} "
            "are exported"
        )
    if problems:
        raise CheckpointError(f"{found.settings_file}: {'; '.join(problems)}.")
    return cast(str, kind)


def _heads(tensors: Mapping[str, StoredTensor]) -> dict[int, dict[int, dict[str, StoredTensor]]]:
    """Tensors of each head by layer number; 0 for the one head of the types that have one."""
    heads: dict[int, dict[int, dict[str, StoredTensor]]] = {}
    for name, stored in tensors.items():
        if (match := HEAD_TENSOR.fullmatch(name)) is not None:
            head = heads.setdefault(int(match["head"] or 0), {})
            head.setdefault(int(match["layer"] or 0), {})[match["leaf"]] = stored
    return heads


def is_head(name: str) -> bool:
    """Whether a tensor of this bare name belongs to a head."""
    return HEAD_TENSOR.fullmatch(name) is not None


def _texts(found: EditRewardFolder, count: int, given: Sequence[DimensionText] | None) -> Sequence[DimensionText]:
    """Text of each dimension."""
    file = next((place / DIMENSIONS for place in found.places if (place / DIMENSIONS).is_file()), None)
    if given is None and file is None:
        raise CheckpointError(
            f"{found.folder} does not hold the texts that ask for its {count} dimensions, as no checkpoint does. "
            f'Write them as [{{"name": "instruction", "text": "... {{text_prompt}} ..."}}, ...] in the order of the '
            f"heads, without the line that ends with {REWARD_TOKEN}, and give the file with --dimensions, or put it "
            f"there as {DIMENSIONS}."
        )
    texts = read_dimension_texts(file) if given is None and file is not None else given or ()
    if len(texts) != count:
        raise CheckpointError(
            f"{found.folder} has {count} dimensions, and {len(texts)} texts are given "
            f"({', '.join(one.name for one in texts)}). Give one for each, in the order of the heads."
        )
    return texts


def _outputs(found: EditRewardFolder, head: Mapping[int, Mapping[str, StoredTensor]]) -> tuple[int, tuple[str, ...]]:
    """Number of outputs that are read, and notices about the others."""
    stored, loss = head[max(head)]["weight"].shape[0], found.settings.get("loss_type", GAUSSIAN_LOSSES[0])
    if stored not in (1, 2):
        raise CheckpointError(
            f"{found.folder}: a head has {stored} outputs; known are 1, the score, and 2, mean and log sigma."
        )
    if stored == 2 and loss not in GAUSSIAN_LOSSES:
        return 1, (f"the second output is left out: with loss_type {loss!r} it is no log sigma",)
    return stored, ()


def _layers(
    found: EditRewardFolder,
    dimension: str,
    head: Mapping[int, Mapping[str, StoredTensor]],
    hidden_size: int,
    outputs: int,
) -> dict[str, torch.Tensor]:
    """Linear layers of one head by their keys; a last layer without a bias gets one of zeros."""
    prefixes = layer_prefixes("linear" if len(head) == 1 else "mlp", len(head) - 1)
    tensors: dict[str, torch.Tensor] = {}
    width = hidden_size
    for prefix, number in zip(prefixes, sorted(head), strict=True):
        rows = outputs if number == max(head) else None
        weight = _read(head[number], "weight", rows)
        bias = _read(head[number], "bias", rows) if "bias" in head[number] else torch.zeros(len(weight))
        if weight.dim() != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            raise CheckpointError(
                f"{found.folder}: layer {number} of the head of {dimension!r} has a weight {tuple(weight.shape)} and a "
                f"bias {tuple(bias.shape)}, where {width} values come in."
            )
        if not (weight.isfinite().all() and bias.isfinite().all()):
            raise CheckpointError(f"{found.folder}: layer {number} of the head of {dimension!r} holds NaN or infinity.")
        tensors |= {f"{dimension}.{prefix}weight": weight, f"{dimension}.{prefix}bias": bias}
        width = len(weight)
    return tensors


def _read(layer: Mapping[str, StoredTensor], leaf: str, rows: int | None) -> torch.Tensor:
    return layer[leaf].rows(0, rows).float()
