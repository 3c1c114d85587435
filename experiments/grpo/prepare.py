"""Starting points of the experiment: two judges of equal training as bundles, and a policy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from yoj.export import ExportConfig, build
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.training.checkpoints import MODEL

from ..shapes import ANSWERS, ShapesConfig, write_captions, write_items
from ..shipped import TASKS, Quiet, quantisation_config
from ..small_judge import HELD_OUT, ITEMS, JUDGE_STEPS, ship, train

JUDGES = Path(__file__).parents[2] / "checkpoints"
FAMILY = "qwen3_vl"
START_TEXTS, START_STEPS, START_RATE = 2000, 40, 2e-4
"""Right answers, steps and learning rate that turn the base into a policy which answers without marks, and still errs:
a third of its answers are right and say all."""


def prepare(folder: Path, note: Callable[[str], None]) -> None:
    """Make what is missing in a folder.

    Both judges have the base of the shipped one, and are trained alike on four answers: the same recipe, items and
    steps, with the objectives n_way and Bradley-Terry.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / f"base-{FAMILY}"
    if not (base / MODEL).is_file():
        shutil.copytree(JUDGES / f"shapes-{FAMILY}" / "base", base)
    for name, count in (("train", ITEMS), ("held_out", HELD_OUT)):
        if not (folder / f"{name}.jsonl").is_file():
            note(f"{folder / name}.jsonl: {count} lines")
            write_items(folder, name, ShapesConfig(count, 0), lambda _: None)
    for name, objective in (("multi", "n_way"), ("single", "bradley_terry")):
        if not (folder / name).is_dir():
            steps = [f"max_steps={JUDGE_STEPS[FAMILY]}", f"objective={objective}", f"out=run-{name}"]
            ship(train("small-judge", folder, [f"base={base.name}", *steps], note), base, folder / name)
    _start(folder, base, note)
    for name, checkpoint, precision in (
        ("multi", "multi", "float32"), ("single", "single", "float32"), ("multi-int8", "multi", "int8"),
    ):  # fmt: skip
        _bundle(folder, name, folder / checkpoint, precision, note)


def _start(folder: Path, base: Path, note: Callable[[str], None]) -> None:
    """Train the policy that all runs start from."""
    start = folder / "start"
    if start.is_dir():
        return
    write_captions(folder, "start-texts", ShapesConfig(START_TEXTS, 7), lambda _: None, ANSWERS)
    files = [f"base={base.name}", "data=start-texts.jsonl", "held_out=null", "out=run-start"]
    rate = [f"max_steps={START_STEPS}", f"optimiser.learning_rate={START_RATE}"]
    trained = train("small-base", folder, [*files, *rate], note)
    shutil.copytree(base, start)
    shutil.copyfile(trained / MODEL, start / MODEL)


def _bundle(folder: Path, name: str, checkpoint: Path, precision: str, note: Callable[[str], None]) -> None:
    bundle = folder / f"{name}.yoj"
    if bundle.is_dir():
        return
    note(f"{bundle}: export in {precision}")
    config = None
    if precision != "float32":
        work = folder / "int8"
        work.mkdir(exist_ok=True)
        config = quantisation_config(Checkpoint.open([checkpoint]), precision, work, vision=False, task=TASKS["shapes"])
    export = ExportConfig(
        [checkpoint], None, "assistant", bundle, precision=precision, quantisation=config, compare=config is None
    )
    build(export, Quiet())
