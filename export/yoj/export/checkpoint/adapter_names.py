"""Names of tensors in adapters -> the tensors of the base that they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._edits import RowRange
from ._trained_layouts import HEAD_MODULES

PREFIX = "base_model.model."
"""Prefix that PEFT puts before the names of the model that it wraps."""
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts that torch.compile, FSDP and activation checkpointing put into names, anywhere."""
OUTER = ("module", "model", "base_model", "pretrained_model")
"""Prefixes that data parallelism, models with a head and PEFT put before names, and that a bare model lacks."""
HEADS = (*sorted(HEAD_MODULES), "reward_head", "value_model", "lm_head")
"""First parts of the names of modules behind the trunk."""

_KINDS = re.compile(
    r"(?P<module>.+?)\.(?P<kind>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector"
    r"|token_adapter\.trainable_tokens_delta)(\.(?!weight$|bias$)(?P<adapter>[^.]+))?(\.(?P<leaf>weight|bias))?"
)
_SAVED = re.compile(r"\.modules_to_save\.(?!weight$|bias$)(?P<adapter>[^.]+)\.|\.modules_to_save\.")


@dataclass(frozen=True)
class Key:
    """Name of one tensor of an adapter, taken apart."""

    name: str
    """Name in the file."""
    module: str
    """Module that the tensor belongs to, as PEFT saw it; of a tensor that was trained whole, with the parameter."""
    kind: str
    """Kind: ``lora_A`` and its like, with ``.bias`` behind where it is one; ``whole`` for a tensor that was trained
    whole."""
    depth: int
    """Number of other adapters' layers around it."""
    adapter: str
    """Name of the adapter, where the file has it."""
    copy: bool
    """Whether the tensor is a copy of the base's, which PEFT keeps beside what it trains whole."""


def read_key(name: str) -> Key:
    """Take the name of a tensor apart."""
    path = name.rpartition(PREFIX)[2]
    parts = [part for part in path.split(".") if part not in WRAPPERS]
    while parts and parts[0] in ("module", "base_model"):
        parts = parts[1:]
    path = ".".join(parts)
    depth = path.count(".base_layer.")
    path = path.replace(".base_layer.", ".")
    copy = ".original_module." in path or path.endswith(".trainable_tokens_original")
    if found := _KINDS.fullmatch(path):
        kind = found["kind"].removeprefix("token_adapter.") + (".bias" if found["leaf"] == "bias" else "")
        return Key(name, found["module"], kind, depth, found["adapter"] or "", copy)
    saved = _SAVED.search(path)
    whole = _SAVED.sub(".", path).replace(".token_adapter.", ".")
    return Key(name, whole, "whole", depth, (saved["adapter"] if saved else None) or "", copy)


def first_part(path: str) -> str:
    """First part of a name that is the model's own."""
    parts = path.split(".")
    while len(parts) > 1 and parts[0] in OUTER:
        parts = parts[1:]
    return parts[0]


class BaseNames:
    """Index of the tensors of a base by the names that they have in adapters."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]):
        """Take ``shapes``, which are read at each call: a resized table has other rows for the adapters behind."""
        from ..families import FAMILIES  # families read checkpoints, whose adapters are read here

        self._shapes = shapes
        self._family = FAMILIES.get(str(config.get("model_type")))
        text = config.get("text_config")
        self._text: Mapping[str, Any] = text if isinstance(text, dict) else {}
        self._full: dict[str, set[str]] = {}
        roots = () if self._family is None else self._family.adapter_roots
        for name in (name for name, shape in shapes.items() if shape):
            bare = name.removeprefix("model.")
            inner = {bare.removeprefix(root) for root in roots if bare.startswith(root)}
            for alias in {name, bare} | inner:
                self._full.setdefault(alias, set()).add(name)

    def find(self, path: str) -> tuple[RowRange, ...]:
        """Places of a tensor's rows in the base; None if the base has no such tensor, or more than one."""
        while True:
            if len(found := self._full.get(path, set())) == 1:
                (name,) = found
                return (RowRange(name, 0, self._shapes[name][0]),)
            if pieces := self._released(path):
                return pieces
            outer, dot, rest = path.partition(".")
            if not dot or outer not in OUTER:
                return ()
            path = rest

    def _released(self, path: str) -> tuple[RowRange, ...]:
        """Rows that transformers knows by a name of its own; none where the family or the base has no such."""
        released = () if self._family is None else self._family.released(path, self._text)
        return tuple(
            RowRange(name, *(one.rows or (0, self._shapes[name][0])))
            for one in released
            for name in self._full.get(one.name, ())
        )
