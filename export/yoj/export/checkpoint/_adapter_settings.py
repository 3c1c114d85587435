"""``adapter_config.json``: settings that change the merged tensors, and settings that cannot be merged."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._errors import CheckpointError
from ._edits import Start
from ._text_files import read_json
from .adapter_files import ADAPTER_CONFIG

NOT_MERGED = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "monteclora_config",
    "use_bdlora",
    "use_qalora",
)
"""Settings under which an adapter is no sum of matrices, or changes the set of layers."""
PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva", "mica")
"""Values of ``init_lora_weights`` that leave the base as it is."""
TAKEN_OUT: dict[Any, Start] = {"pissa": "pissa", "olora": "olora"}
"""Initialisations that take something out of the base before training which can be computed again. What the others take
(LoftQ, CorDA, LoRA-GA, and PiSSA by a random method) depends on data that are not in the adapter."""
USED = (
    *("alpha_pattern", "bias", "init_lora_weights", "lora_alpha", "lora_bias", "modules_to_save", "peft_type", "r"),
    *("rank_pattern", "target_modules", "target_parameters", "trainable_token_indices", "use_dora", "use_rslora"),
    *("base_model_name_or_path", "exclude_modules", "layers_pattern", "layers_to_transform", "ensure_weight_tying"),
)
WITHOUT_EFFECT = (
    *("auto_mapping", "inference_mode", "peft_version", "revision", "task_type", "megatron_core", "runtime_config"),
    *("corda_config", "eva_config", "loftq_config", "lora_ga_config", "velora_config", "qalora_group_size"),
    *("lora_dropout", "fan_in_fan_out", "megatron_config"),
)
"""Settings of training without effect on merged tensors, and ``fan_in_fan_out``, which PEFT sets back on the linear
layers that these models have."""


@dataclass(frozen=True)
class AdapterSettings:
    """Settings of an adapter."""

    file: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> AdapterSettings:
        """Read the settings and check them.

        Raises:
            CheckpointError: the file is missing or damaged, or describes what cannot be merged.
        """
        file = folder / ADAPTER_CONFIG
        values = read_json(file)
        wrong = [f"{name} is set" for name in NOT_MERGED if values.get(name)]
        if values.get("peft_type") != "LORA":
            wrong.append(f"peft_type is {values.get('peft_type')!r}")
        start = _start(values)
        if start not in (*PLAIN_STARTS, *TAKEN_OUT):
            wrong.append(f"init_lora_weights is {values['init_lora_weights']!r}, which changes the base")
        rank, alpha = values.get("r"), values.get("lora_alpha")
        if not (type(rank) is int and rank > 0 and isinstance(alpha, int | float)):
            wrong.append(f"r is {rank!r} and lora_alpha is {alpha!r}")
        wrong += _misshapen(values)
        if wrong:
            raise CheckpointError(
                f"{file}: only LoRA and DoRA can be merged, and here {', '.join(wrong)}. Merge the adapter with PEFT "
                "(merge_and_unload) and export the merged checkpoint."
            )
        return cls(file, values)

    @property
    def start(self) -> Start | None:
        """Initialisation that took something out of the base before training; None where none did."""
        return TAKEN_OUT.get(_start(self.values))

    def unknown(self) -> list[str]:
        """Settings with a value whose effect is not known."""
        known = {*USED, *WITHOUT_EFFECT, *NOT_MERGED}
        return [name for name, value in self.values.items() if value and name not in known]

    def rank(self, module: str) -> Any:
        """Rank of a module, or of ``module.parameter`` of ``target_parameters``, by the name that PEFT knew it by."""
        return self._for_module("rank_pattern", module, self.values["r"])

    def scale(self, module: str, rank: int) -> float:
        """Scale alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA (peft.tuners.lora.LoraLayer.update_layer)."""
        alpha = self._for_module("alpha_pattern", module, self.values["lora_alpha"])
        return alpha / (math.sqrt(rank) if self.values.get("use_rslora") else rank)

    def parameters(self, module: str) -> list[str]:
        """Names of those parameters of a module that are targeted by themselves (``target_parameters``)."""
        targets = [str(target) for target in self.values.get("target_parameters") or []]
        leaves = {target: target.rpartition(".")[2] for target in targets}
        return list(dict.fromkeys(leaf for target, leaf in leaves.items() if _ends(f"{module}.{leaf}", target)))

    def token_indices(self, module: str) -> list[Any] | None:
        """Rows of a table that were trained, or None if the settings do not say."""
        said = self.values.get("trainable_token_indices")
        if isinstance(said, dict):
            said = next((rows for name, rows in said.items() if _ends(module, name)), None)
        return said if isinstance(said, list) else None

    def token_tables(self) -> list[str]:
        """Tables with single trained rows; the usual name where the settings leave it to the model."""
        said = self.values.get("trainable_token_indices")
        return [str(name) for name in said] if isinstance(said, dict) else ["embed_tokens"] if said else []

    def _for_module(self, pattern: str, module: str, default: Any) -> Any:
        """Value by PEFT's rule: the first key that equals the module's name or matches its end."""
        for key, value in (self.values.get(pattern) or {}).items():
            try:
                matches = re.match(rf"(.*\.)?({key})$", module)
            except re.error as error:
                raise CheckpointError(f"{self.file}: {pattern}: {key!r} is no regular expression: {error}.") from error
            if matches:
                return value
        return default


_ENDLESS = re.compile(r"\([^()]*[+*{|][^()]*\)[+*{]|.{200}", re.DOTALL)
"""Pattern of repeated groups with repetitions or alternatives in them, for which Python's matching may take exponential
time."""


def _misshapen(values: Mapping[str, Any]) -> list[str]:
    """Settings of another type than PEFT writes."""
    kinds = {"rank_pattern": dict, "alpha_pattern": dict, "modules_to_save": list, "target_parameters": list}
    said = {name: values[name] for name in kinds if values.get(name) is not None}
    wrong = [
        f"{name} is {value!r}, not a {kinds[name].__name__}"
        for name, value in said.items()
        if type(value) is not kinds[name]
    ]
    for name, value in said.items():
        if kinds[name] is dict and isinstance(value, dict):
            least = 0 if name == "alpha_pattern" else 1
            numbers = {key: n for key, n in value.items() if type(n) in (int, float) and n >= least}
            wrong += [f"{name} has {n!r} for {key}" for key, n in value.items() if key not in numbers]
            wrong += [f"{name} has {key!r}, which may never end" for key in value if _ENDLESS.search(key)]
        elif isinstance(value, list):
            wrong += [f"{name} has {entry!r}" for entry in value if not isinstance(entry, str)]
    return wrong


def _start(values: Mapping[str, Any]) -> Any:
    start = values.get("init_lora_weights")
    return start.lower() if isinstance(start, str) else start


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")
