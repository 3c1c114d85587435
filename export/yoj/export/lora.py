"""PEFT LoRA adapters -> what they add to each tensor of the base model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .files import read_json
from .trained_layouts import HEAD_MODULES, head_name
from .weights import LoraDelta, StoredTensor, read_header

PREFIX = "base_model.model."
"""PEFT puts this before the names of the model that it wraps."""
UNSUPPORTED = (
    "use_dora",
    "fan_in_fan_out",
    "lora_bias",
    "alora_invocation_tokens",
    "trainable_token_indices",
    "target_parameters",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
)
"""Settings under which an adapter is more than W + scale * B @ A."""
PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal")
"""``init_lora_weights`` that leave the base as it is. The others (PiSSA, OLoRA, LoftQ, CorDA) take something out of the
base before training, so that adding the adapter to the released base gives another model."""


def read_adapters(folders: Sequence[Path], base: Mapping[str, StoredTensor]) -> dict[str, list[LoraDelta]]:
    """What the adapters add, in their order, by the tensor that they change.

    Raises:
        CheckpointError: an adapter that is not plain LoRA, or whose tensors do not fit the base. All are named.
    """
    deltas: dict[str, list[LoraDelta]] = {}
    for folder in folders:
        for name, delta in _read_adapter(folder, base).items():
            deltas.setdefault(name, []).append(delta)
    return deltas


def _read_adapter(folder: Path, base: Mapping[str, StoredTensor]) -> dict[str, LoraDelta]:
    config_file = folder / "adapter_config.json"
    config = read_json(config_file)
    _check_plain(config, config_file)
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise CheckpointError(f"{folder} has no adapter_model.safetensors. Save the adapter with safe_serialization.")
    tensors = {name: tensor for name, tensor in read_header(file).items() if head_name(name) is None}
    deltas: dict[str, LoraDelta] = {}
    problems: list[str] = []
    for key, down in tensors.items():
        module, found, _ = key.partition(".lora_A.weight")
        if not found:
            if not (key.endswith(".lora_B.weight") and key.replace("lora_B", "lora_A") in tensors):
                problems.append(f"{key}: not one of a lora_A, lora_B pair")
            continue
        module = module.removeprefix(PREFIX)
        up, target = tensors.get(key.replace("lora_A", "lora_B")), base.get(f"{module}.weight")
        if up is None or target is None:
            problems.append(f"{key}: {'its lora_B is missing' if up is None else f'the base has no {module}.weight'}")
        elif (up.shape[0], down.shape[1]) != target.shape or up.shape[1] != down.shape[0]:
            problems.append(f"{key}: B {up.shape} x A {down.shape} does not fit {module}.weight {target.shape}")
        elif down.shape[0] != (rank := _for_module(config.get("rank_pattern"), module, config["r"])):
            problems.append(f"{key}: rank {down.shape[0]}, but {config_file.name} says {rank}")
        else:
            deltas[f"{module}.weight"] = LoraDelta(down, up, _scale(config, module, rank))
    if deltas and not problems:
        missing = _untrained(config, base, deltas)
        problems = [f"{name}: no LoRA pair, though {config_file.name} targets it" for name in missing]
    if problems or not deltas:
        raise CheckpointError(
            f"{file} does not fit the base model:\n  "
            + "\n  ".join(problems or ["it holds no LoRA tensors"])
            + "\nGive the base that the adapter was trained on (--base); its modules must have the released names."
        )
    return deltas


def _untrained(config: Mapping[str, Any], base: Mapping[str, StoredTensor], deltas: Mapping[str, Any]) -> list[str]:
    """Tensors that the adapter should have changed by its list of target modules, and does not."""
    targets = config.get("target_modules")
    narrowed = any(config.get(name) for name in ("exclude_modules", "layers_to_transform", "layers_pattern"))
    if not isinstance(targets, list) or narrowed:
        return []
    modules = [name.removesuffix(".weight") for name in base if name.endswith(".weight")]
    meant = [f"{m}.weight" for m in modules if any(m == t or m.endswith(f".{t}") for t in targets)]
    return [name for name in meant if name not in deltas]


def _check_plain(config: Mapping[str, Any], file: Path) -> None:
    wrong = [
        f"{name} is {config.get(name)!r}"
        for name, plain in (("peft_type", ("LORA",)), ("bias", ("none", None)))
        if config.get(name) not in plain
    ]
    saved = config.get("modules_to_save") or []
    if not isinstance(saved, list) or not HEAD_MODULES.issuperset(map(str, saved)):
        wrong.append(f"modules_to_save is {saved!r}")
    if config.get("init_lora_weights") not in PLAIN_STARTS:
        wrong.append(f"init_lora_weights is {config['init_lora_weights']!r}, which changes the base")
    if not (isinstance(config.get("r"), int) and isinstance(config.get("lora_alpha"), int | float)):
        wrong.append(f"r is {config.get('r')!r} and lora_alpha is {config.get('lora_alpha')!r}")
    wrong += [f"{name} is set" for name in UNSUPPORTED if config.get(name)]
    if wrong:
        raise CheckpointError(
            f"{file}: only plain LoRA can be merged, and here {', '.join(wrong)}. Merge the adapter with PEFT "
            "(merge_and_unload) and export the merged checkpoint."
        )


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA (peft.tuners.lora.LoraLayer.update_layer)."""
    alpha = _for_module(config.get("alpha_pattern"), module, config["lora_alpha"])
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _for_module(pattern: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """PEFT's rule: the first key that equals the module's name or matches its end."""
    for key, value in (pattern or {}).items():
        try:
            matches = re.match(rf"(.*\.)?({key})$", module)
        except re.error as error:
            raise CheckpointError(f"The adapter's pattern {key!r} is no regular expression: {error}.") from error
        if matches:
            return value
    return default
