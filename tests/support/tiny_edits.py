"""Made-up edits: a source picture, an instruction, and edited pictures judged in two dimensions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DIMENSIONS = ("instruction", "quality")
SIDE = 64
"""Pixels of a picture's width and height."""


def picture(folder: Path, name: str, seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> str:
    """Write a picture of random colours in large squares; returns its name."""
    squares = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(squares).resize(size, Image.Resampling.NEAREST).save(folder / name)
    return name


def shown(name: str) -> dict[str, str]:
    """Part of a prompt or response that shows a picture."""
    return {"type": "image", "image": name}


def edits(folder: Path, items: int = 6, n: int = 3) -> list[dict[str, Any]]:
    """Samples whose responses are pictures, with ties, unjudged responses and missing rationales among them."""
    ranks = [([1, 2, 3], [2, 1, 3]), ([2, 1, None], [1, 1, 1]), ([3, 1, 2], [None, None, None])]
    lines: list[dict[str, Any]] = []
    for k in range(items):
        names = [picture(folder, f"edit-{k}-{j}.png", 100 * k + j) for j in range(n + 1)]
        instruction, quality = ranks[k % len(ranks)]
        lines.append(
            {
                "prompt": [shown(names[0]), f"Make square {k} red."],
                "responses": [[shown(name)] for name in names[1:]],
                "rankings": [2, 1, 3],
                "dimension_rankings": dict(zip(DIMENSIONS, (instruction, quality), strict=True)),
                "rationales": [f"Square {k} is red.", "Another square changed.", None],
                "kind": "recolour" if k % 2 else "move",
            }
        )
    return lines


def write_edits(folder: Path) -> None:
    """``train.jsonl`` with edits alone."""
    lines = edits(folder)
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
