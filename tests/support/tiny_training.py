"""Tiny bases of both families, and data with pictures, videos and plain text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from experiments.shapes import ShapesConfig, write_captions, write_items
from experiments.small import write_base
from yoj.training._recipe import Head, Lora, Optimiser, Recipe
from yoj.training._trainer import Trainer
from yoj.training.checkpoints import newest
from yoj.training.samples import NumberedSample, read_samples
from yoj.training.setup import load_samples

FAMILIES = ("molmo2", "qwen3_vl")
COLOURS = ("red", "blue", "green", "yellow", "black", "white")
LEARNING = Optimiser(learning_rate=0.02, schedule="constant")
"""So fast that a few steps move every score."""


# Twelve samples make 6 batches, and these 3 steps an epoch.
LONG = {"accumulation": 2, "batch_size": 2, "epochs": 3, "max_steps": None, "save_every": 2, "log_every": 1}
LONG |= {"optimiser": Optimiser(learning_rate=0.01, schedule="cosine", warmup=0.2)}


def quiet(_: object) -> None: ...


def plain_texts() -> list[dict[str, Any]]:
    """Samples that show nothing, with two to four responses and ties."""
    ranks = ([2, 1], [1, 2, 2], [3, 1, 2], [1, 1, 2, 4])
    return [
        {"prompt": f"Pick {COLOURS[k]}.", "responses": [f"It is {c}." for c in COLOURS[: len(r)]], "rankings": r}
        for k, r in enumerate(ranks)
    ]


def write_data(folder: Path) -> None:
    """``train.jsonl`` with every kind of medium, and ``captions.jsonl``."""
    write_items(folder, "pictures", ShapesConfig(6, 0, 4, ("identify", "specific")), quiet)
    write_items(folder, "videos", ShapesConfig(2, 0, 2, ("moves",)), quiet)
    write_captions(folder, "captions", ShapesConfig(8, 0), quiet)
    lines = [line for name in ("pictures", "videos") for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    lines += map(json.dumps, plain_texts())
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def texts_of(file: Path) -> list[str]:
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    asked = [text for line in lines for text in _texts(line["prompt"])]
    return (
        asked
        + [text for line in lines for one in line["responses"] for text in _texts(one)]
        + [text for line in lines for text in line.get("rationales") or () if text is not None]
    )


def _texts(content: str | list[Any]) -> list[str]:
    parts = [content] if isinstance(content, str) else content
    return [part for part in parts if isinstance(part, str)]


@dataclass(frozen=True)
class Setup:
    """A folder with ``train.jsonl`` and a base for each family."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, write: Callable[[Path], None] = write_data) -> Setup:
        write(folder)
        for family in FAMILIES:
            write_base(family, texts_of(folder / "train.jsonl") * 3, folder / family, layers=4)
        return cls(folder)

    def recipe(self, family: str, out: str, **settings: Any) -> Recipe:
        recipe = Recipe(
            base=str(self.folder / family),
            data=str(self.folder / "train.jsonl"),
            out=str(self.folder / out),
            lora=Lora(rank=4, alpha=16, dropout=0.1),
            head=Head(hidden=16, init_std=0.3),
            optimiser=LEARNING,
            batch_size=2,
            accumulation=1,
            max_steps=2,
            precision="float32",
            base_precision="float32",
            gradient_checkpointing=False,
            max_length=1024,
            workers=0,
        )
        return msgspec.structs.replace(recipe, **settings)

    @property
    def samples(self) -> list[NumberedSample]:
        samples, problems = read_samples(self.folder / "train.jsonl")
        assert not problems
        return samples


def fresh_process() -> None:
    """Accelerate holds one precision for a whole process; runs of other tests may have had another."""
    AcceleratorState._reset_state(True)


def open_run(recipe: Recipe) -> Trainer:
    fresh_process()
    samples, held_out = load_samples(recipe, skip=False, packs=False, note=quiet)
    return Trainer(recipe, samples, held_out)


def train(recipe: Recipe, note: Callable[[str], None] = quiet) -> Trainer:
    trainer = open_run(recipe)
    trainer.run(note)
    return trainer


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.judge.state_dict().items()}


def stored(recipe: Recipe) -> dict[str, torch.Tensor]:
    """Every tensor of the newest checkpoint."""
    folder = newest(Path(recipe.out))
    assert folder is not None
    return {f"{file.name}/{n}": t for file in folder.glob("*.safetensors") for n, t in load_file(file).items()}


def differing(one: Recipe, other: Recipe) -> list[str]:
    ours, theirs = stored(one), stored(other)
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


class Lines:
    """Lines of a run's log, and the end of the run where one of them says a word."""

    def __init__(self, stop: str | None = None):
        self.stop, self.spec = stop, list[str]()

    def __call__(self, text: str) -> None:
        self.spec.append(text)
        if self.stop is not None and text.startswith(self.stop):
            raise KeyboardInterrupt
