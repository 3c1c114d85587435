"""Items and captions, and the files that hold them.

Every item is drawn from a seed of its own, made of the file's name, the config's seed and the item's index: any item
can be made alone, and files with different names or seeds share no scene.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from .answers import KINDS, Answer, Question, grade
from .lessons import answer, describe
from .questions import RESPONSES, draw
from .render import render
from .scene import Scene
from .words import ask, caption, say

VIDEO_SHARE = 0.12
LESSONS = {"identify": 1, "where": 4, "count": 3, "front": 3, "specific": 1, "moves": 2}
"""Frequencies of the kinds among captions: those that are learnt last are the most frequent."""
SECONDS_BETWEEN_FRAMES = 1.0


@dataclass(frozen=True)
class ShapesConfig:
    """Settings of a file: how many items, from which seed, with how many answers each, and of which kinds.

    A kind that cannot have that many answers (see `RESPONSES`) is left out.
    """

    items: int
    seed: int
    responses: int = 4
    kinds: tuple[str, ...] = KINDS

    def usable_kinds(self) -> list[str]:
        """Kinds that can have as many answers as asked for."""
        kinds = [kind for kind in self.kinds if self.responses in RESPONSES[kind]]
        if not kinds:
            raise ValueError(f"none of the kinds {self.kinds} can have {self.responses} answers; see {RESPONSES}")
        return kinds


@dataclass(frozen=True)
class Mixture:
    """Composition of the captions."""

    described: float
    """Share of captions that describe a scene; the others answer questions."""
    marked: float
    """Share of both that has marks; see `lessons`."""
    lessons: Mapping[str, int] = field(default_factory=lambda: LESSONS)
    """Frequencies of the kinds among the answers."""


CAPTIONS = Mixture(described=0.4, marked=0.0)
ANSWERS = Mixture(described=0.0, marked=0.0, lessons=LESSONS | {"where": 8, "front": 4})
MARKED = Mixture(described=0.4, marked=0.6)
FRONTS = Mixture(described=0.0, marked=0.0, lessons=LESSONS | {"where": 4, "front": 30})
MARKED_FRONTS = Mixture(described=0.4, marked=0.6, lessons=LESSONS | {"front": 8})
"""Descriptions ground the sight of a base; they are long, and beside them what only answers teach drowns."""


@dataclass(frozen=True)
class Item:
    """Item before it is written: the frames are uint8 arrays of shape (64, 64, 3), one for a picture."""

    scene: Scene
    scene_id: int
    question: Question
    answers: list[Answer]
    frames: list[np.ndarray]

    def rankings(self) -> list[int]:
        """Rank of each answer, 1 the best; answers that are equally good share a rank."""
        qualities = [grade(self.scene, self.question, answer).quality for answer in self.answers]
        return [1 + sum(other > quality for other in qualities) for quality in qualities]

    def fields(self) -> dict[str, Any]:
        """Item as it is written, without its pictures' paths."""
        prompt, target = caption(self.scene)
        return {
            "prompt": ask(self.question),
            "responses": [say(self.question, answer) for answer in self.answers],
            "rankings": self.rankings(),
            "kind": self.question.kind,
            "grades": [grade(self.scene, self.question, answer).label for answer in self.answers],
            "scene": self.scene_id,
            "language": {"prompt": prompt, "target": target},
        }


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:16], "little")


def _draw_kind(rng: random.Random, kinds: list[str]) -> str:
    """Frequencies of the kinds: videos have their share; the other kinds are equally frequent."""
    still = [kind for kind in kinds if kind != "moves"]
    if "moves" in kinds and (not still or rng.random() < VIDEO_SHARE):
        return "moves"
    return rng.choice(still)


def make_item(name: str, config: ShapesConfig, index: int) -> Item:
    """Item at `index` of the file `name`."""
    seed = _seed("item", name, config.seed, index)
    rng = random.Random(seed)
    question, answers, scene = draw(rng, _draw_kind(rng, config.usable_kinds()), config.responses)
    # Numbers up to 2**53 survive any reader of JSON.
    return Item(scene, seed % 2**53, question, answers, render(scene, rng))


def make_caption(
    name: str, config: ShapesConfig, index: int, mixture: Mixture = CAPTIONS
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Caption at `index` of the file `name`, without its pictures' paths, and its frames.

    It describes a scene or answers a question.
    """
    rng = random.Random(_seed("caption", name, config.seed, index))
    marked = rng.random() < mixture.marked
    if rng.random() < mixture.described:
        lesson = describe(rng, rng.random() < VIDEO_SHARE, marked)
    else:
        lesson = answer(rng, rng.choices(list(mixture.lessons), list(mixture.lessons.values()))[0], marked)
    return {"prompt": lesson.prompt, "responses": [lesson.text], "kind": lesson.kind}, render(lesson.scene, rng)


def _save(folder: Path, path: str, frames: list[np.ndarray]) -> dict[str, Any]:
    """Write the pictures of one item; returns the fields that point to them."""
    if len(frames) == 1:
        Image.fromarray(frames[0]).save(folder / f"{path}.png", compress_level=1)
        return {"image": f"{path}.png"}
    (folder / path).mkdir(exist_ok=True)
    paths = [f"{path}/{number}.png" for number in range(len(frames))]
    for frame, frame_path in zip(frames, paths, strict=True):
        Image.fromarray(frame).save(folder / frame_path, compress_level=1)
    return {"video": paths, "seconds_between_frames": SECONDS_BETWEEN_FRAMES}


def _write(
    folder: Path,
    name: str,
    items: int,
    make: Callable[[int], tuple[dict[str, Any], list[np.ndarray]]],
    progress: Callable[[int], None],
) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.jsonl").open("wb") as lines:
        for index in range(items):
            fields, frames = make(index)
            lines.write(msgspec.json.encode(fields | _save(folder, f"{name}/{index:06d}", frames)) + b"\n")
            progress(index + 1)


def write_items(folder: Path, name: str, config: ShapesConfig, progress: Callable[[int], None]) -> None:
    """Write `folder/name.jsonl` with one item per line, and its pictures under `folder/name/`.

    `progress` is told after each item how many are done.
    """

    def make(index: int) -> tuple[dict[str, Any], list[np.ndarray]]:
        item = make_item(name, config, index)
        return item.fields(), item.frames

    _write(folder, name, config.items, make, progress)


def write_captions(
    folder: Path, name: str, config: ShapesConfig, progress: Callable[[int], None], mixture: Mixture = CAPTIONS
) -> None:
    """Write captions, each with one response, in the same layout as `write_items`.

    They are for language modelling; the config's number and kinds of answers do not matter to them.
    """
    _write(folder, name, config.items, lambda index: make_caption(name, config, index, mixture), progress)
