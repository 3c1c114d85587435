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
from .grades import DIMENSIONS, describe
from .items import EditItem, N, draw_item


def make_item(name: str, seed: int, index: int, n: int = N) -> EditItem:
    """Item of n edits at ``index`` of the file ``name``: files of other names or seeds share no scene."""
    return draw_item(random.Random(_seed(name, seed, index)), n)


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


def write_edits(folder: Path, name: str, items: int, seed: int, progress: Callable[[int], None], n: int = N) -> None:
    """Write ``folder/name.jsonl`` with one item per line, and its pictures under ``folder/name/``.

    Args:
        folder: folder of the files.
        name: name of the file, which also seeds its draw.
        items: number of items.
        seed: seed of the file.
        progress: function that is told after each item how many are done.
        n: number of edits of each item.
    """

    def fields(index: int) -> dict[str, Any]:
        item = make_item(name, seed, index, n)
        source, *edits = _pictures(folder, f"{name}/{index:06d}", [item.source, *item.results])
        asked = {"prompt": [source, _text(item.instruction)], "responses": [[edit] for edit in edits]}
        # Numbers up to 2**53 survive any reader of JSON.
        return asked | fields_of(item, _seed(name, seed, index) % 2**53)

    _write(folder, name, items, fields, progress)


def write_changes(folder: Path, name: str, items: int, seed: int, progress: Callable[[int], None]) -> None:
    """Write lessons in comparing pictures, like `write_edits`: a source, some edits of it, and what the last changed.

    They teach a base to see what the edits of a pack have changed, and nothing about right and wrong.
    """

    def fields(index: int) -> dict[str, Any]:
        item = make_item(name, seed, index)
        shown = item.results[: 1 + index % len(item.results)]
        source, *edits = _pictures(folder, f"{name}/{index:06d}", [item.source, *shown])
        prompt = [source, _text(item.instruction), *edits, _text("What changed?")]
        return {"prompt": prompt, "responses": [describe(item.source, shown[-1])], "kind": item.kind}

    _write(folder, name, items, fields, progress)


def _write(
    folder: Path, name: str, items: int, fields: Callable[[int], dict[str, Any]], progress: Callable[[int], None]
) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.jsonl").open("wb") as lines:
        for index in range(items):
            lines.write(msgspec.json.encode(fields(index)) + b"\n")
            progress(index + 1)


def _pictures(folder: Path, path: str, drawings: Sequence[Drawing]) -> list[dict[str, str]]:
    """Write pictures and give the parts of a request that show them."""
    parts: list[dict[str, str]] = []
    for number, drawing in enumerate(drawings):
        parts.append({"type": "image", "image": f"{path}-{number}.png"})
        Image.fromarray(drawing.pixels()).save(folder / parts[-1]["image"], compress_level=1)
    return parts


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(("edit", *parts)).encode()).digest()[:16], "little")
