"""Checkpoints of a run: in the reference's adapter layout, or a whole base model in its released layout."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file

from yoj.export.checkpoint.adapter_files import ADAPTER_CONFIG
from yoj.export.checkpoint.adapter_names import PREFIX
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.checkpoint.head import SETTINGS
from yoj.export.checkpoint.weights import Weights, read_folder
from yoj.export.families import GraphSpec

from .errors import TrainingError
from .judge import LANGUAGE_HEAD, TARGETS, Judge, lora_config
from .recipe import Recipe, trained_mode

ADAPTER, HEAD, MODEL = "adapter_model.safetensors", "value_head.safetensors", "model.safetensors"
RECIPE = "recipe.json"
NOT_LEARNT = (
    "base",
    "out",
    "media_root",
    "ignore_fields",
    "workers",
    "evaluate_every",
    "save_every",
    "keep",
    "log_every",
    "log",
)
"""Settings that the weights do not depend on; a base is checked by its tensors."""
STATE = "training_state.json"
COPIED = ("config.json", "generation_config.json", "tokenizer_config.json", "chat_template.jinja",
          "preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json",
          "special_tokens_map.json")  # fmt: skip


@dataclass(frozen=True)
class State:
    """How far a run is."""

    epoch: int = 0
    step_in_epoch: int = 0
    """Batches of each process that were used of the epoch."""
    global_step: int = 0
    processes: int = 1

    def on(self, processes: int) -> State:
        """The same place in the epoch for so many processes."""
        return replace(self, step_in_epoch=self.step_in_epoch * self.processes // processes, processes=processes)


def save_judge(
    folder: Path, judge: Judge, weights: Mapping[str, torch.Tensor], checkpoint: Checkpoint, recipe: Recipe
) -> None:
    """Write what the run trained; the folder must not exist.

    Args:
        folder: of the checkpoint.
        judge: for its names.
        weights: its state dict, whole and on the CPU.
        checkpoint: the base that is trained.
        recipe: of the run.
    """
    folder.mkdir(parents=True)
    checkpoint.tokenizer.save(str(folder / "tokenizer.json"))
    copy_files(COPIED if recipe.trainable == "all" else COPIED[1:], checkpoint.trunk, folder)
    if recipe.trainable == "all":
        save_tensors(_released(judge, weights, checkpoint), folder / MODEL)
        return
    adapters = {
        _adapter_key(judge.scorer_spec, name): value.contiguous()
        for name, value in _part(weights, "scorer.").items()
        if ".lora_" in name
    }
    save_tensors(adapters, folder / ADAPTER)
    config = lora_config(recipe, TARGETS[checkpoint.family]).to_dict() | {
        "base_model_name_or_path": os.path.relpath(recipe.base, folder)
    }
    _write(folder / ADAPTER_CONFIG, {name: _plain(value) for name, value in config.items()})
    head = {name: t.contiguous() for name, t in _head(weights).items()}
    save_tensors(head, folder / HEAD)
    torch.save(head, folder / "value_head.pt")  # what the reference's own merge script reads
    _write(folder / SETTINGS, _head_settings(judge, recipe))


def save_tensors(tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    """Write a file of safetensors for all who may read its folder; the library leaves it to its owner alone."""
    save_file(dict(tensors), file, {"format": "pt"})
    file.chmod(file.parent.stat().st_mode & 0o666)


def copy_files(names: Sequence[str], source: Path, target: Path) -> None:
    """Copy those that there are."""
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def load_judge(folder: Path, judge: Judge, recipe: Recipe) -> None:
    """Put the weights of a checkpoint of the same recipe into a fresh judge.

    Raises:
        TrainingError: they do not fit.
    """
    if recipe.trainable == "all":
        _load_released(folder, judge)
        return
    stored = load_file(folder / ADAPTER)
    state = {
        name: stored[_adapter_key(judge.scorer_spec, name)] if ".lora_" in name else value
        for name, value in judge.scorer.state_dict().items()
    }
    for name, value in load_file(folder / HEAD).items():
        state[f"readout.value_head.{name}"] = value.t()
    try:
        judge.scorer.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()  # the others are alike
        raise TrainingError(f"{folder} does not fit the recipe: {first} Train into another folder.") from error


def newest(out: Path) -> Path | None:
    """The newest whole checkpoint of a run."""
    return next(reversed(by_step(out)), None)


def by_step(out: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    found = [path for path in out.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))


def write_state(folder: Path, state: State) -> None:
    """Say in a checkpoint how far the run was."""
    _write(folder / STATE, asdict(state))


def read_state(folder: Path) -> State:
    """What `write_state` wrote."""
    return State(**json.loads((folder / STATE).read_text("utf-8")))


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Say in a checkpoint what it was trained with."""
    _write(folder / RECIPE, msgspec.to_builtins(recipe))


def recipe_changes(folder: Path, recipe: Recipe) -> list[str]:
    """Settings that are not those of a checkpoint, other than where it lies and what is reported."""
    if not (folder / RECIPE).is_file():
        return []
    before, now = json.loads((folder / RECIPE).read_text("utf-8")), json.loads(msgspec.json.encode(recipe))
    names = [name for name in now if name not in NOT_LEARNT and before.get(name) != now[name]]
    return [f"{name} {before.get(name)} -> {now[name]}" for name in names]


@torch.no_grad()
def _load_released(folder: Path, judge: Judge) -> None:
    """The inverse of `_released`."""
    stored = Weights(read_folder(folder))
    for module, spec in ((judge.vision, judge.vision_spec), (judge.scorer, judge.scorer_spec)):
        for name, plan in spec.plans.items():
            module.get_parameter(name).copy_(torch.cat(list(stored.blocks(plan, torch.float32))))
    if judge.language_head is not None:
        judge.language_head.copy_(stored.read(LANGUAGE_HEAD))


def _released(judge: Judge, weights: Mapping[str, torch.Tensor], checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Every tensor of the base under its released name, those that were trained with their new values."""
    stored = checkpoint.weights
    tensors = {name: stored.read(name) for name in stored.names()}
    for prefix, spec in (("vision.", judge.vision_spec), ("scorer.", judge.scorer_spec)):
        for name, plan in spec.plans.items():
            value = weights[prefix + name].float()
            if plan.transpose:
                value = value.t()
            begin = 0
            for source in plan.sources:
                shape = stored.shape(source)
                tensors[source] = value[begin : begin + shape[0]].reshape(shape).contiguous()
                begin += shape[0]
    if judge.language_head is not None:
        tensors[LANGUAGE_HEAD] = weights["language_head"].float()
    return tensors


def _adapter_key(spec: GraphSpec, name: str) -> str:
    """Name of an adapter's tensor in the file: that of the released module, as peft writes it."""
    module, lora, rest = name.replace(".default.", ".").partition(".lora_")
    return PREFIX + spec.plans[f"{module}.weight"].sources[0].removesuffix(".weight") + lora + rest


def _head(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """In the keys and orientation of the reference."""
    return {name: value.t() for name, value in _part(weights, "scorer.readout.value_head.").items()}


def _head_settings(judge: Judge, recipe: Recipe) -> dict[str, Any]:
    width = judge.hidden_size * (2 if recipe.head.readout == "first_last_concat" else 1)
    settings = {
        "value_head_type": recipe.head.type,
        "value_head_hidden_dim": recipe.head.hidden if recipe.head.type == "mlp" else None,
        "value_head_activation": recipe.head.activation if recipe.head.type == "mlp" else None,
        "value_head_input_dim": width,
        "resp_repr_mode": recipe.head.readout,
        "hidden_state": recipe.hidden_state,
    }
    if recipe.objective == "joint":
        settings["value_head_outputs"] = 2
    if trained_mode(recipe) == "isolated":
        settings["trained_mode"] = "isolated"
    if recipe.video_expansion is not None:
        settings["video_expansion"] = recipe.video_expansion
    return settings


def _part(weights: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value


def _write(file: Path, values: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, default=str) + "\n", "utf-8")
