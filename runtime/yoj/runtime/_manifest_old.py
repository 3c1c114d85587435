"""Manifests of earlier schema versions: the bytes that their digest covers, and their conversion to the present schema.

Both work on the JSON as it was read, so that the structs are free to change. A manifest of every released version is in
``tests/data/bundles``.
"""

from __future__ import annotations

import sys
from typing import Any, cast

import msgspec

Tree = dict[str, Any]
"""JSON object as it was read."""

_MAPS_1 = {
    "preprocessing": sys.maxsize,
    "graphs": 1,
    "onnx": 1,
    "profiles": 2,
    "checkpoint": 1,
    "libraries": 1,
    "float16_overflow": 1,
    "files": 1,
}
"""Field of schema 1 -> number of levels of its value that are maps. yoj 0.1 sorted their keys for the digest, and left
fields of structs in the order in which it wrote them."""


def canonical_1(tree: Tree) -> bytes:
    """Bytes whose SHA-256 is the digest of a manifest of schema 1, if ``tree`` has an empty digest."""
    return msgspec.json.encode(_sorted_maps_1(tree, 0))


def _sorted_maps_1(value: Any, maps: int) -> Any:
    if isinstance(value, list):
        return [_sorted_maps_1(item, maps) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    fields = cast("Tree", value)
    if maps:
        return {key: _sorted_maps_1(fields[key], maps - 1) for key in sorted(fields)}
    return {key: _sorted_maps_1(item, _MAPS_1.get(key, 0)) for key, item in fields.items()}


def upgrade(tree: Tree) -> Tree:
    """Convert a manifest to the present schema; its digest stays that of the file."""
    if tree["schema_version"] == 1:
        tree = _upgrade_1(tree)
    return tree


def _upgrade_1(tree: Tree) -> Tree:
    """Convert layouts from schema 1, the pieces of one question and its responses, to schema 2, which has turns."""
    layout = dict(tree["layout"])
    for variant in ("text_only", "with_media"):
        layout[variant] = _turns_of_1(layout["name"], layout[variant])
    return tree | {"schema_version": 2, "min_reader": "0.2.0", "layout": layout}


def _turns_of_1(layout: str, pieces: list[Tree]) -> Tree:
    kinds = [piece["kind"] for piece in pieces]
    prompt, responses = kinds.index("prompt"), kinds.index("responses")
    # Directly before the prompt, media stand in their place in its turn; elsewhere they are gathered.
    opening = pieces[: prompt - 1] if prompt and kinds[prompt - 1] == "media" else pieces[:prompt]
    before = {"user": opening}
    if layout == "assistant":
        before["user>assistant"] = pieces[prompt + 1 : responses]
    return {"before": before, "after": pieces[responses + 1 :]}
