"""The small judges that ship with the project, from nothing: data, base in three stages, judge."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file

from yoj.export.checkpoint import ADAPTER_CONFIG
from yoj.export.head import SETTINGS

from .checkpoints import ADAPTER, COPIED, HEAD, MODEL, copy_files, newest, save_tensors
from .recipe import PRESETS, Recipe, read_recipe
from .setup import load
from .shapes import ANSWERS, CAPTIONS, MARKED, write_captions, write_items
from .shapes import Recipe as Shapes
from .small import write_base
from .trainer import Trainer

TEXTS, ITEMS, HELD_OUT = 40_000, 24_000, 2_000
"""Lines for each stage of a base, and items for a judge."""
TOKENIZED = 5_000
"""Lines of each file that the tokenizer is trained on."""
STAGES = {"captions": CAPTIONS, "answers": ANSWERS, "marked": MARKED}
"""Of a base: name of its texts, and what they are made of."""
STEPS = {"qwen3_vl": (3000, 1200, 3000, 2500), "molmo2": (3000, 2000, 3500, 2000)}
"""Of each stage, and of the judge. Molmo2's pooled patches take about twice as long to show forms and places."""
SHIPPED = (ADAPTER, HEAD, SETTINGS, "tokenizer.json", *COPIED[2:])


def make(family: str, folder: Path, seed: int, note: Callable[[str], None]) -> None:
    """Train the small judge of a family and put it into ``folder/shapes-FAMILY``. What is already there is not redone.

    Args:
        family: ``molmo2`` or ``qwen3_vl``.
        folder: for the data, the base and the judge.
        seed: of data, weights and training.
        note: called with lines for a person.
    """
    *base_steps, judge_steps = STEPS[family]
    write_data(folder, seed, note)
    start = folder / f"start-{family}"
    if not (start / MODEL).is_file():
        write_base(family, _texts(folder), start, seed)
    base = folder / f"base-{family}"
    if not (base / MODEL).is_file():
        last = start
        for texts, steps in zip(STAGES, base_steps, strict=True):
            files = [f"data={texts}.jsonl", f"held_out={texts}_held_out.jsonl", f"max_steps={steps}"]
            run = [f"base={last.relative_to(folder)}", f"out=run-{texts}-{family}", f"seed={seed}"]
            last = train("small-base", folder, files + run, note)
        _as_released(last, base)
    run = [f"base={base.name}", f"out=run-judge-{family}", f"max_steps={judge_steps}", f"seed={seed}"]
    judge = train("small-judge", folder, run, note)
    ship(judge, base, folder / f"shapes-{family}")
    note(f"{folder / f'shapes-{family}'}: {(judge / 'evaluation.json').read_text('utf-8').strip()}")


def write_data(folder: Path, seed: int, note: Callable[[str], None]) -> None:
    """The task: texts for each stage of a base, items for a judge, and held-out ones of all."""
    files = [("held_out", write_items, HELD_OUT), ("train", write_items, ITEMS)]
    for name, mixture in STAGES.items():
        write = partial(write_captions, mixture=mixture)
        files += [(f"{name}_held_out", write, HELD_OUT), (name, write, TEXTS)]
    for name, write, count in files:
        if not (folder / f"{name}.jsonl").is_file():
            note(f"{folder / name}.jsonl: {count} lines")
            write(folder, name, Shapes(count, seed), lambda _: None)


def train(preset: str, folder: Path, changes: list[str], note: Callable[[str], None]) -> Path:
    """Run a preset in a folder of data; returns its newest checkpoint."""
    recipe_file = folder / f"{preset}.yaml"
    shutil.copyfile(PRESETS / f"{preset}.yaml", recipe_file)
    recipe: Recipe = read_recipe(recipe_file, changes)
    samples, held_out = load(recipe, skip=False, packs=False, note=note)
    Trainer(recipe, samples, held_out).run(note)
    last = newest(Path(recipe.out))
    assert last is not None
    return last


def ship(judge: Path, base: Path, out: Path) -> None:
    """Put adapter, head and base into one folder, without what only training needs."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    copy_files(SHIPPED, judge, out)
    config = json.loads((judge / ADAPTER_CONFIG).read_text("utf-8")) | {"base_model_name_or_path": "base"}
    (out / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    shutil.copytree(base, out / "base")


def _as_released(run: Path, base: Path) -> None:
    """A trained base in bfloat16, as bases are released; the judge is trained on these values."""
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
