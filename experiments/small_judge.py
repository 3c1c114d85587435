"""Small judges that ship with the project, trained from nothing: data, base in stages, judge.

python -m experiments.small_judge qwen3_vl .judges
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import torch
from safetensors.torch import load_file

from yoj.export.checkpoint.adapter_files import ADAPTER_CONFIG
from yoj.export.checkpoint.head import SETTINGS
from yoj.runtime.options import readable_errors
from yoj.training import Trainer, load_samples, read_recipe
from yoj.training.checkpoints import ADAPTER, COPIED, EVALUATION, HEAD, MODEL, copy_files, newest, save_tensors

from .shapes import ANSWERS, CAPTIONS, FRONTS, MARKED, MARKED_FRONTS, Mixture, ShapesConfig, write_captions, write_items
from .small import write_base

RECIPES = Path(__file__).parent / "recipes"
TEXTS, ITEMS, HELD_OUT = 40_000, 24_000, 2_000
"""Numbers of lines for each stage of a base, and of items for a judge."""
TOKENIZED = 5_000
"""Number of lines of each file that the tokenizer is trained on."""


@dataclass(frozen=True)
class Stage:
    """Stage in the training of a base."""

    texts: str
    """Name of the stage's file, which also seeds its draw."""
    mixture: Mixture
    """Composition of its captions."""
    steps: int
    changes: tuple[str, ...] = ()
    """Settings that differ from those of the recipe ``small-base``."""


@dataclass(frozen=True)
class JudgeStage:
    """Stage in the training of a judge, after the one on four answers."""

    name: str
    steps: int
    changes: tuple[str, ...]
    """Settings that differ from those of the recipe ``small-judge``."""


STAGES = {
    "qwen3_vl": (
        Stage("captions", CAPTIONS, 3000),
        Stage("answers", ANSWERS, 1200),
        Stage("marked", MARKED, 3000),
    ),
    "molmo2": (
        Stage("captions", CAPTIONS, 3000),
        Stage("answers", ANSWERS, 2000),
        Stage("answersB", FRONTS, 2500),
        Stage("markedF", MARKED_FRONTS, 3500, ("optimiser.learning_rate=1.0e-3",)),
    ),
}
"""Stages of a base by family. Molmo2's pooled patches take longer to show forms and places, and longest what lies in
front of what: that has a stage of its own, and marks at half the speed, which forget less of it."""
JUDGE_STEPS = {"qwen3_vl": 2500, "molmo2": 2000}
"""Steps of a judge on four answers, by family."""
MANY = ("data=mixed.jsonl", "n=[2,16]")
LATER = {
    "qwen3_vl": (JudgeStage("mixed", 3000, (*MANY, "optimiser.learning_rate=1.0e-3")),),
    "molmo2": (
        JudgeStage("mixed", 3000, (*MANY, "optimiser.learning_rate=1.0e-3")),
        JudgeStage("settled", 300, (*MANY, "optimiser.learning_rate=3.0e-4", "optimiser.weight_decay=3.0")),
    ),
}
"""Stages of a judge after that, each of which begins with the one before: 2 to 16 answers, another number in each step.
Molmo2's weights end with decay: without it float32 rounded scores of made-up requests by 1.5e-5, against float64."""
MIXED = {"train": (ITEMS, 4), "train-8": (8_000, 8), "train-16": (16_000, 16)}
"""File of items for a judge -> its number of items, and of answers of each; kinds that cannot have so many are left
out. All judges learn from the first, and then from all of them."""
SHIPPED = (ADAPTER, HEAD, SETTINGS, "tokenizer.json", *COPIED[2:])


@click.command()
@click.argument("family", type=click.Choice(list(STAGES)))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Seed of data, weights and training.")
def main(family: str, folder: Path, seed: int) -> None:
    """Train the small judge of a backbone from nothing: data, base model in stages, judge.

    Takes hours on a core. What is in FOLDER already is not made again.
    """
    with readable_errors():
        make(family, folder, seed, click.echo)


def make(family: str, folder: Path, seed: int, note: Callable[[str], None]) -> None:
    """Train the small judge of a family and put it into ``folder/shapes-FAMILY``. What is already there is not redone.

    Args:
        family: name ``molmo2`` or ``qwen3_vl``.
        folder: folder of the data, the base and the judge.
        seed: seed of data, weights and training.
        note: function that takes lines for a person.
    """
    write_data(folder, seed, note)
    start = folder / f"start-{family}"
    if not (start / MODEL).is_file():
        write_base(family, _texts(folder), start, seed)
    base = folder / f"base-{family}"
    if not (base / MODEL).is_file():
        last = start
        for stage in STAGES[family]:
            texts = stage.texts
            files = [f"data={texts}.jsonl", f"held_out={texts}_held_out.jsonl", f"max_steps={stage.steps}"]
            run = [f"base={last.relative_to(folder)}", f"out=run-{texts}-{family}", f"seed={seed}", *stage.changes]
            last = train("small-base", folder, files + run, note)
        as_released(last, base)
    run = [f"base={base.name}", f"out=run-judge-{family}", f"max_steps={JUDGE_STEPS[family]}", f"seed={seed}"]
    judge = train("small-judge", folder, run, note)
    mixed = folder / "mixed.jsonl"
    if not mixed.is_file():
        mixed.write_text("".join((folder / f"{name}.jsonl").read_text("utf-8") for name in MIXED), "utf-8")
    for stage in LATER[family]:
        run = [f"base={base.name}", f"out=run-{stage.name}-{family}", f"max_steps={stage.steps}", f"seed={seed}"]
        judge = train("small-judge", folder, [*run, f"init_from={judge.absolute()}", *stage.changes], note)
    ship(judge, base, folder / f"shapes-{family}")
    note(f"{folder / f'shapes-{family}'}: {(judge / EVALUATION).read_text('utf-8').strip()}")


def write_data(folder: Path, seed: int, note: Callable[[str], None]) -> None:
    """Write the task: texts for each stage of a base, items for a judge, and held-out ones of all."""
    files = [("held_out", write_items, HELD_OUT, 4)]
    files += [(name, write_items, count, answers) for name, (count, answers) in MIXED.items()]
    mixtures = {stage.texts: stage.mixture for stages in STAGES.values() for stage in stages}
    for name, mixture in mixtures.items():
        write = partial(write_captions, mixture=mixture)
        files += [(f"{name}_held_out", write, HELD_OUT, 1), (name, write, TEXTS, 1)]
    for name, write, count, answers in files:
        if not (folder / f"{name}.jsonl").is_file():
            note(f"{folder / name}.jsonl: {count} lines")
            write(folder, name, ShapesConfig(count, seed, answers), lambda _: None)


def train(name: str, folder: Path, changes: list[str], note: Callable[[str], None]) -> Path:
    """Run one of `RECIPES` in a folder of data; returns its newest checkpoint."""
    last = newest(Path(run_recipe(name, folder, changes, note).recipe.out))
    assert last is not None
    return last


def run_recipe(name: str, folder: Path, changes: list[str], note: Callable[[str], None]) -> Trainer:
    """Run one of `RECIPES` in a folder of data, with some settings changed; the trainer has the trained model."""
    recipe_file = folder / f"{name}.yaml"
    shutil.copyfile(RECIPES / recipe_file.name, recipe_file)
    recipe = read_recipe(recipe_file, changes)
    samples, held_out = load_samples(recipe, skip=False, packs=False, note=note)
    trainer = Trainer(recipe, samples, held_out)
    trainer.run(note)
    return trainer


def ship(judge: Path, base: Path, out: Path) -> None:
    """Put adapter, head and base into one folder, without what only training needs."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    copy_files(SHIPPED, judge, out)
    config = json.loads((judge / ADAPTER_CONFIG).read_text("utf-8")) | {"base_model_name_or_path": "base"}
    (out / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    shutil.copytree(base, out / "base")


def as_released(run: Path, base: Path) -> None:
    """Save a trained base in bfloat16, as bases are released; a judge is trained on these values."""
    base.mkdir(parents=True, exist_ok=True)
    copy_files((*COPIED, "tokenizer.json"), run, base)
    tensors = {name: value.to(torch.bfloat16) for name, value in load_file(run / MODEL).items()}
    save_tensors(tensors, base / MODEL)


def _texts(folder: Path) -> Iterator[str]:
    for name in ("captions", "marked", "train"):
        with (folder / f"{name}.jsonl").open(encoding="utf-8") as lines:
            for _, line in zip(range(TOKENIZED), lines, strict=False):
                entry = json.loads(line)
                yield from (entry["prompt"], *entry["responses"])


if __name__ == "__main__":
    main()
