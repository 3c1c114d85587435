"""Names of Molmo2's tensors in transformers, which splits what is fused in released files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ._base import ReleasedRows

_LAYER, _VIT = r"(?:language_model\.)?layers\.(\d+)\.", r"vision_tower\.layers\.(\d+)\."
_BLOCK, _RES = r"transformer.blocks.\1.", r"vision_backbone.image_vit.transformer.resblocks.\1."
_PROJECTOR, _BACK = r"multi_modal_projector\.", r"vision_backbone."
NAMES: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
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


def released(path: str, text: Mapping[str, Any]) -> tuple[ReleasedRows, ...]:
    """Rows of released files; see `yoj.export.families._base.ExportFamily.released`."""
    for pattern, names, part in NAMES:
        if found := re.fullmatch(pattern, path):
            rows = None if part is None else _rows(part, text)
            return tuple(ReleasedRows(found.expand(name), rows) for name in names)
    return ()


def _rows(part: str, text: Mapping[str, Any]) -> tuple[int, int]:
    """First row of one of the matrices in a fused one, and the row behind its last."""
    head, width = _size(text, "head_dim"), _size(text, "intermediate_size")
    wide, narrow = (_size(text, f"num_{kind}_heads") * head for kind in ("attention", "key_value"))
    return {
        "q": (0, wide),
        "k": (wide, wide + narrow),
        "v": (wide + narrow, wide + 2 * narrow),
        "up": (0, width),
        "gate": (width, 2 * width),
    }[part]


def _size(text: Mapping[str, Any], name: str) -> int:
    """Number of the text model's config; 0, which fits nothing, where it has none."""
    value = text.get(name)
    return value if type(value) is int else 0
