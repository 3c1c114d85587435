"""Requests without a meaning, some with pictures, ranked by chance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

WORDS = "a the red blue small cat dog car tree is are in on under near two three and not it shows".split()  # noqa: SIM905


def write_requests(file: Path, count: int, seed: int) -> Path:
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 256, (4, 48, 64, 3), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(file.parent / f"{file.stem}-{number}.png")
    lines = []
    for number in range(count):
        n = int(draw.integers(2, 6))
        line = {
            "prompt": " ".join(draw.choice(WORDS, 6)) + "?",
            "responses": [" ".join(draw.choice(WORDS, int(draw.integers(2, 9)))) for _ in range(n)],
            "rankings": (draw.permutation(n) + 1).tolist(),
        }
        if number % 3 == 0:
            line["image"] = f"{file.stem}-{number % 4}.png"
        lines.append(json.dumps(line))
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file
