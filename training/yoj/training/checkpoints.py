"""Checkpoints of a run: in the adapter layout of the YOJO code, or a whole base model in its released layout."""

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
from yoj.export.checkpoint.head import SETTINGS, TrainedHead, transposed
from yoj.export.checkpoint.weights import Weights, read_folder
from yoj.export.families import GraphSpec
from yoj.runtime.error_texts import shorten

from ._errors import TrainingError
from ._facts import Facts
from ._judge import LANGUAGE_HEAD, Judge, lora_config
from ._preparer import write_max_pixels
from ._recipe import Recipe, ranks, trained_mode

READING = {
    "value_head_type": "head.type",
    "value_head_hidden_dim": "head.hidden",
    "resp_repr_mode": "head.readout",
    "value_head_activation": "head.activation",
    "value_head_ask": "head.ask",
    "value_head_token": "head.token",
    "hidden_state": "hidden_state",
}
"""Setting of a trained head -> setting of a recipe. Weights of one reading fit another, and mean nothing there."""
ADAPTERS = {"r": "lora.rank", "lora_alpha": "lora.alpha"}
"""Setting of trained adapters -> setting of a recipe."""
ADAPTER, HEAD, MODEL = "adapter_model.safetensors", "value_head.safetensors", "model.safetensors"
RECIPE, EVALUATION = "recipe.json", "evaluation.json"
BEST_OF_N, LANGUAGE_LOSS = "best_of_n", "language_loss"
"""Figures of an evaluation."""
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
"""Settings on which the weights do not depend; a base is checked by its tensors."""
STATE = "training_state.json"
COPIED = ("config.json", "generation_config.json", "tokenizer_config.json", "chat_template.jinja",
          "preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json",
          "special_tokens_map.json")  # fmt: skip


@dataclass(frozen=True)
class State:
    """Progress of a run."""

    epoch: int = 0
    step_in_epoch: int = 0
    """Number of batches of the epoch that each process has used."""
    global_step: int = 0
    processes: int = 1

    def on(self, processes: int) -> State:
        """State at the same place in the epoch, counted for so many processes."""
        return replace(self, step_in_epoch=self.step_in_epoch * self.processes // processes, processes=processes)


def save_judge(
    folder: Path,
    judge: Judge,
    weights: Mapping[str, torch.Tensor],
    checkpoint: Checkpoint,
    recipe: Recipe,
    facts: Facts,
) -> None:
    """Write what the run trained into a new folder.

    Args:
        folder: folder of the checkpoint, which must not exist.
        judge: the judge, for its names.
        weights: state dict of the judge, whole and on the CPU.
        checkpoint: base that is trained.
        recipe: recipe of the run.
        facts: facts about its samples.
    """
    folder.mkdir(parents=True)
    checkpoint.tokenizer.save(str(folder / "tokenizer.json"))
    copy_files(COPIED if recipe.trainable == "all" else COPIED[1:], checkpoint.trunk, folder)
    if recipe.max_pixels is not None:
        write_max_pixels(folder, judge.family, recipe.max_pixels)
    if recipe.trainable == "all":
        save_tensors(_released(judge, weights, checkpoint), folder / MODEL)
    else:
        _save_adapters(folder, judge, weights, recipe)
    if ranks(recipe):
        head = transposed(_part(weights, "scorer.readout.value_head."))
        save_tensors(head, folder / HEAD)
        torch.save(head, folder / "value_head.pt")  # read by the YOJO code's merge script
        _write(folder / SETTINGS, _settings(checkpoint.head, recipe, facts))


def _save_adapters(folder: Path, judge: Judge, weights: Mapping[str, torch.Tensor], recipe: Recipe) -> None:
    adapters = {
        _adapter_key(judge.scorer_spec, name): value.contiguous()
        for name, value in _part(weights, "scorer.").items()
        if ".lora_" in name
    }
    save_tensors(adapters, folder / ADAPTER)
    config = lora_config(recipe, judge.family.adapter_targets).to_dict() | {
        "base_model_name_or_path": os.path.relpath(recipe.base, folder)
    }
    _write(folder / ADAPTER_CONFIG, {name: _plain(value) for name, value in config.items()})


def save_tensors(tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    """Write a safetensors file for all who may read its folder; the library gives rights to its owner alone."""
    save_file(dict(tensors), file, {"format": "pt"})
    file.chmod(file.parent.stat().st_mode & 0o666)


def copy_files(names: Sequence[str], source: Path, target: Path) -> None:
    """Copy those files that exist."""
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def load_judge(folder: Path, judge: Judge, recipe: Recipe) -> None:
    """Load the weights of a checkpoint of the same recipe into a fresh judge.

    Raises:
        TrainingError: the weights do not fit.
    """
    if recipe.trainable == "all":
        _load_released(folder, judge)
    state: dict[str, torch.Tensor] = judge.scorer.state_dict()
    if recipe.trainable == "lora":
        stored = load_file(folder / ADAPTER)
        state |= {name: stored[_adapter_key(judge.scorer_spec, name)] for name in state if ".lora_" in name}
    if ranks(recipe):
        head = transposed(load_file(folder / HEAD))
        state = {name: value for name, value in state.items() if not name.startswith("readout.value_head.")}
        state |= {f"readout.value_head.{name}": value for name, value in head.items()}
    try:
        judge.scorer.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()  # the others are alike
        raise TrainingError(
            f"{folder} does not fit the recipe: {first} Give the recipe the head and the base of "
            "that checkpoint, or another folder."
        ) from error


def require_same_reading(folder: Path, head: TrainedHead, recipe: Recipe) -> None:
    """Require that a recipe reads what the value head of a checkpoint was trained to read.

    Its weights fit other readings as well, and would give scores that mean nothing.

    Args:
        folder: folder of the checkpoint; without settings of a head there is nothing to compare.
        head: head of the recipe.
        recipe: recipe of the run.

    Raises:
        TrainingError: heads differ, or ranks or scales of the adapters.
    """
    differ: list[str] = []
    if ranks(recipe) and (folder / SETTINGS).is_file():
        # Checkpoints of older versions do not say the hidden state.
        earlier = {"hidden_state": recipe.hidden_state} | _read(folder / SETTINGS)
        differ += _differing(READING, earlier, head.settings() | {"hidden_state": recipe.hidden_state})
    if recipe.trainable == "lora" and (folder / ADAPTER_CONFIG).is_file():
        now = {"r": recipe.lora.rank, "lora_alpha": recipe.lora.alpha}
        differ += _differing(ADAPTERS, _read(folder / ADAPTER_CONFIG), now)
    if differ:
        raise TrainingError(
            f"{folder} was trained with another head or other adapters: {'; '.join(differ)}. Give the recipe what that "
            "checkpoint has, or begin without it."
        )


def _differing(settings: Mapping[str, str], earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Settings of a recipe that differ, with both values; a setting that is left out is None."""
    return [
        f"{setting} was {earlier.get(name)!r} and is {now.get(name)!r}"
        for name, setting in settings.items()
        if earlier.get(name) != now.get(name)
    ]


def newest(out: Path) -> Path | None:
    """Newest whole checkpoint of a run; None where there is none."""
    return next(reversed(by_step(out)), None)


def best(out: Path) -> Path | None:
    """Checkpoint of a run that did best on the held-out samples, the last of equals; None where none was evaluated."""
    return max(
        (path for path in by_step(out) if goodness(results_of(path)) is not None),
        key=lambda path: (goodness(results_of(path)), int(path.name.removeprefix("checkpoint-"))),
        default=None,
    )


def goodness(results: Mapping[str, float]) -> float | None:
    """Figure of an evaluation of which more is better; None where nothing was evaluated."""
    return results[BEST_OF_N] if BEST_OF_N in results else -results[LANGUAGE_LOSS] if LANGUAGE_LOSS in results else None


def results_of(checkpoint: Path) -> dict[str, float]:
    """Evaluation of a checkpoint; empty where it was not evaluated."""
    file = checkpoint / EVALUATION
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def by_step(out: Path) -> list[Path]:
    """Whole checkpoints of a run, oldest first."""
    found = [path for path in out.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")))


def write_state(folder: Path, state: State) -> None:
    """Write the progress of the run into a checkpoint."""
    _write(folder / STATE, asdict(state))


def read_state(folder: Path) -> State:
    """Progress that `write_state` wrote."""
    return State(**json.loads((folder / STATE).read_text("utf-8")))


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the recipe of the run into a checkpoint."""
    _write(folder / RECIPE, msgspec.to_builtins(recipe))


def read_recipe_of(folder: Path, base: Path | None) -> Recipe:
    """Recipe that `write_recipe` wrote, with its base where it is now.

    Args:
        folder: folder of the checkpoint.
        base: folder of the base model of adapters; None for the one that they name.

    Raises:
        TrainingError: the folder is no checkpoint of a judge.
    """
    try:
        recipe = msgspec.json.decode((folder / RECIPE).read_bytes(), type=Recipe)
        named = "." if recipe.trainable == "all" else _base_of(folder)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"{folder} is neither a bundle nor a checkpoint-N folder of a judge of yoj-train: "
            f"{shorten(str(error), 200)} Export what others trained with yoj-export, and give the bundle."
        ) from error
    if not ranks(recipe):
        raise TrainingError(f"{folder} learnt language alone and has no value head. Give a checkpoint of a judge.")
    if base is not None and recipe.trainable == "all":
        raise TrainingError(f"{folder} is a whole model: all its weights were trained. Leave --base out.")
    return msgspec.structs.replace(recipe, base=str(base or folder / named))


def _base_of(folder: Path) -> str:
    return json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))["base_model_name_or_path"]


def recipe_changes(folder: Path, recipe: Recipe) -> list[str]:
    """Settings that differ from those of a checkpoint, apart from folders and reports."""
    if not (folder / RECIPE).is_file():
        return []
    before, now = _settings_of(folder), json.loads(msgspec.json.encode(recipe))
    names = [name for name in now if name not in NOT_LEARNT and before.get(name) != now[name]]
    return [f"{name} {before.get(name)} -> {now[name]}" for name in names]


def _settings_of(folder: Path) -> dict[str, Any]:
    """Recipe of a checkpoint as plain values; settings that its version of yoj had not have their defaults."""
    stored = (folder / RECIPE).read_bytes()
    try:
        return json.loads(msgspec.json.encode(msgspec.json.decode(stored, type=Recipe)))
    except msgspec.ValidationError:  # written by a version with other settings
        return json.loads(stored)


@torch.no_grad()
def _load_released(folder: Path, judge: Judge) -> None:
    """Load the weights of a base model that `_released` gave."""
    stored = Weights(read_folder(folder))
    for module, spec in ((judge.vision, judge.vision_spec), (judge.scorer, judge.scorer_spec)):
        for name, tensor in spec.sources.items():
            module.get_parameter(name).copy_(torch.cat(list(stored.blocks(tensor, torch.float32))))
    if judge.language_head is not None:
        judge.language_head.copy_(stored.read(LANGUAGE_HEAD))


def _released(judge: Judge, weights: Mapping[str, torch.Tensor], checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Every tensor of the base under its released name, the trained ones with their new values."""
    stored = checkpoint.weights
    tensors = {name: stored.read(name) for name in stored.names()}
    for prefix, spec in (("vision.", judge.vision_spec), ("scorer.", judge.scorer_spec)):
        for name, tensor in spec.sources.items():
            value = weights[prefix + name].float()
            if tensor.transpose:
                value = value.t()
            begin = 0
            for source in tensor.names:
                shape = stored.shape(source)
                tensors[source] = value[begin : begin + shape[0]].reshape(shape).contiguous()
                begin += shape[0]
    if judge.language_head is not None:
        tensors[LANGUAGE_HEAD] = weights["language_head"].float()
    return tensors


def _adapter_key(spec: GraphSpec, name: str) -> str:
    """Name of an adapter's tensor in the file: that of the released module, as PEFT writes it."""
    module, lora, rest = name.replace(".default.", ".").partition(".lora_")
    return PREFIX + spec.sources[f"{module}.weight"].names[0].removesuffix(".weight") + lora + rest


def _settings(head: TrainedHead, recipe: Recipe, facts: Facts) -> dict[str, Any]:
    """Content of ``reward_model_config.json``: of the head, and of how the model was trained."""
    settings = head.settings() | {"hidden_state": recipe.hidden_state}
    if trained_mode(recipe) == "isolated":
        settings["trained_mode"] = "isolated"
    else:
        settings["trained_n"] = list(facts.trained_n)
    if recipe.video_expansion is not None:
        settings["video_expansion"] = recipe.video_expansion
    if facts.response_images is not None:
        settings["response_images"] = facts.response_images
    if facts.rationales:
        settings["rationale_prompt"] = recipe.rationale_prompt
    return settings


def _part(weights: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise TrainingError(f"{file} is damaged: {error}. Give a whole checkpoint.") from error


def _write(file: Path, values: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, default=str) + "\n", "utf-8")
