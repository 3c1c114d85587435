"""Files of the edits task: JSON lines with source, instruction, edits, both dimensions of truth and rationales."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from .drawing import Drawing
from .grades import DIMENSIONS
from .items import EditItem, draw_item


def make_item(name: str, seed: int, index: int) -> EditItem:
    """Item at ``index`` of the file ``name``: files of other names or seeds share no scene."""
    return draw_item(random.Random(_seed(name, seed, index)))


def fields_of(item: EditItem, scene: int) -> dict[str, Any]:
    """Item as it is written, without its pictures."""
    grades = item.grades()
    return {
        "rankings": ranks([grade.overall for grade in grades]),
        "dimension_rankings": {name: ranks([getattr(grade, name) for grade in grades]) for name in DIMENSIONS},
        "rationales": item.rationales(),
        "kind": item.kind,
        "grades": [grade.label for grade in grades],
        "scene": scene,
    }


def ranks(values: Sequence[float]) -> list[int]:
    """Rank of each value, 1 for the highest; equal ones share a rank."""
    return [1 + sum(other > value for other in values) for value in values]


def write_edits(folder: Path, name: str, items: int, seed: int, progress: Callable[[int], None]) -> None:
    """Write ``folder/name.jsonl`` with one item per line, and its pictures under ``folder/name/``.

    Args:
        folder: folder of the files.
        name: name of the file, which also seeds its draw.
        items: number of items.
        seed: seed of the file.
        progress: function that is told after each item how many are done.
    """
    (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.jsonl").open("wb") as lines:
        for index in range(items):
            item = make_item(name, seed, index)
            # Numbers up to 2**53 survive any reader of JSON.
            fields = fields_of(item, _seed(name, seed, index) % 2**53)
            source = _picture(folder, f"{name}/{index:06d}.png", item.source)
            edits = [
                [_picture(folder, f"{name}/{index:06d}-{number}.png", result)]
                for number, result in enumerate(item.results)
            ]
            request = {"prompt": [source, {"type": "text", "text": item.instruction}], "responses": edits}
            lines.write(msgspec.json.encode(request | fields) + b"\n")
            progress(index + 1)


def _picture(folder: Path, path: str, drawing: Drawing) -> dict[str, str]:
    Image.fromarray(drawing.pixels()).save(folder / path, compress_level=1)
    return {"type": "image", "image": path}


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(("edit", *parts)).encode()).digest()[:16], "little")
