"""Names of tensors in adapters -> the tensors of the base that they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .edits import RowRange
from .trained_layouts import HEAD_MODULES

PREFIX = "base_model.model."
"""Prefix that PEFT puts before the names of the model that it wraps."""
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts that torch.compile, FSDP and activation checkpointing put into names, anywhere."""
OUTER = ("module", "model", "base_model", "pretrained_model")
"""Prefixes that data parallelism, models with a head and PEFT put before names, and that a bare model lacks."""
HEADS = (*sorted(HEAD_MODULES), "reward_head", "value_model", "lm_head")
"""First parts of the names of modules behind the trunk."""
ROOTS = {"qwen3_vl": ("language_model.", "visual."), "molmo2": ("transformer.",)}
"""Parts of the trunk that may have been trained alone, by ``model_type``; their tensors' names then begin behind
them."""

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
        self._shapes = shapes
        self._family = str(config.get("model_type"))
        text = config.get("text_config")
        self._text: Mapping[str, Any] = text if isinstance(text, dict) else {}
        self._full: dict[str, set[str]] = {}
        for name in (name for name, shape in shapes.items() if shape):
            bare = name.removeprefix("model.")
            inner = {bare.removeprefix(root) for root in ROOTS.get(self._family, ()) if bare.startswith(root)}
            for alias in {name, bare} | inner:
                self._full.setdefault(alias, set()).add(name)

    def find(self, path: str) -> tuple[RowRange, ...]:
        """Places of a tensor's rows in the base; None if the base has no such tensor, or more than one."""
        while True:
            if len(found := self._full.get(path, set())) == 1:
                (name,) = found
                return (RowRange(name, 0, self._shapes[name][0]),)
            if self._family == "molmo2" and (pieces := self._native(path)):
                return pieces
            outer, dot, rest = path.partition(".")
            if not dot or outer not in OUTER:
                return ()
            path = rest

    def _native(self, path: str) -> tuple[RowRange, ...]:
        """Places of a tensor's rows by its name in transformers' Molmo2, which splits fused matrices."""
        for pattern, released, part in NATIVE_MOLMO2:
            found = re.fullmatch(pattern, path)
            if not found:
                continue
            names = [name for one in released for name in self._full.get(found.expand(one), ())]
            if part is None:
                return tuple(RowRange(name, 0, self._shapes[name][0]) for name in names)
            return tuple(RowRange(name, *self._part(part)) for name in names)
        return ()

    def _part(self, part: str) -> tuple[int, int]:
        """First and last row of one of the matrices in a fused one."""
        head, width = self._size("head_dim"), self._size("intermediate_size")
        wide, narrow = (self._size(f"num_{kind}_heads") * head for kind in ("attention", "key_value"))
        return {
            "q": (0, wide),
            "k": (wide, wide + narrow),
            "v": (wide + narrow, wide + 2 * narrow),
            "up": (0, width),
            "gate": (width, 2 * width),
        }[part]

    def _size(self, name: str) -> int:
        """Number of the text model's config; 0, which fits nothing, where it has none."""
        value = self._text.get(name)
        return value if type(value) is int else 0


_LAYER, _VIT = r"(?:language_model\.)?layers\.(\d+)\.", r"vision_tower\.layers\.(\d+)\."
_BLOCK, _RES = r"transformer.blocks.\1.", r"vision_backbone.image_vit.transformer.resblocks.\1."
_PROJECTOR, _BACK = r"multi_modal_projector\.", r"vision_backbone."
NATIVE_MOLMO2: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
    (_LAYER + r"self_attn\.q_proj\.weight", (_BLOCK + r"self_attn.att_proj.weight",), "q"),
    (_LAYER + r"self_attn\.k_proj\.weight", (_BLOCK + r"self_attn.att_proj.weight",), "k"),
    (_LAYER + r"self_attn\.v_proj\.weight", (_BLOCK + r"self_attn.att_proj.weight",), "v"),
    (_LAYER + r"self_attn\.o_proj\.weight", (_BLOCK + r"self_attn.attn_out.weight",), None),
    (_LAYER + r"self_attn\.([qk]_norm\.weight)", (_BLOCK + r"self_attn.\2",), None),
    (_LAYER + r"mlp\.up_proj\.weight", (_BLOCK + r"mlp.ff_proj.weight",), "up"),
    (_LAYER + r"mlp\.gate_proj\.weight", (_BLOCK + r"mlp.ff_proj.weight",), "gate"),
    (_LAYER + r"mlp\.down_proj\.weight", (_BLOCK + r"mlp.ff_out.weight",), None),
    (_LAYER + r"input_layernorm\.weight", (_BLOCK + r"attn_norm.weight",), None),
    (_LAYER + r"post_attention_layernorm\.weight", (_BLOCK + r"ff_norm.weight",), None),
    (r"(?:language_model\.)?norm\.weight", (r"transformer.ln_f.weight",), None),
    (
        r"(?:language_model\.)?embed_tokens\.weight",
        (r"transformer.wte.embedding", r"transformer.wte.new_embedding"),
        None,
    ),
    (_VIT + r"self_attn\.([qkvo])_proj\.(\w+)", (_RES + r"attention.w\2.\3",), None),
    (_VIT + r"mlp\.fc([12])\.(\w+)", (_RES + r"feed_forward.w\2.\3",), None),
    (_VIT + r"layer_norm1\.(\w+)", (_RES + r"attention_norm.\2",), None),
    (_VIT + r"layer_norm2\.(\w+)", (_RES + r"ffn_norm.\2",), None),
    (r"vision_tower\.(patch_embedding\.\w+|positional_embedding)", (r"vision_backbone.image_vit.\1",), None),
    (_PROJECTOR + r"image_pooling_2d\.([qkvo])_proj\.(\w+)", (_BACK + r"image_pooling_2d.w\1.\2",), None),
    (_PROJECTOR + r"image_projector\.gate_proj\.weight", (_BACK + r"image_projector.w1.weight",), None),
    (_PROJECTOR + r"image_projector\.down_proj\.weight", (_BACK + r"image_projector.w2.weight",), None),
    (_PROJECTOR + r"image_projector\.up_proj\.weight", (_BACK + r"image_projector.w3.weight",), None),
)
"""Name in transformers -> names in released files, and the rows where it is a part of one. Order of the rows:
``transformers/conversion_mapping.py``, ``Molmo2TextModel``."""
