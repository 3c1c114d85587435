"""One run of the experiment: a policy trained by TRL's GRPOTrainer with one of the rewards."""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers.trainer_callback import TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from yoj.runtime.machine import instruction_sets

from ..shapes import Item
from ..shapes.words import ask
from .arms import ARMS, Watched, open_reward
from .policy import open_policy, open_processor
from .tasks import LONGEST, answer, columns, draw_items, truths

HELD_OUT = 250
EVALUATE_EVERY = 20
SHOWN = 25
"""Held-out questions whose last answers are kept."""


@dataclass(frozen=True)
class RunConfig:
    """Settings of a run. Runs of one seed and group size see the same questions, whatever their reward."""

    arm: str
    """Name of the reward in `arms.ARMS`."""
    group: int = 8
    """Answers to each question, N."""
    seed: int = 0
    """Seed of the questions and the samples."""
    steps: int = 100
    samples: int = 64
    """Answers a step, over all its questions."""
    learning_rate: float = 1e-4

    @property
    def name(self) -> str:
        """Name of the run's file."""
        return f"{self.arm}-group-{self.group}-seed-{self.seed}"


class Examiner(TrainerCallback):
    """Truth of the policy's answers to held-out questions, at the start and every few steps."""

    def __init__(self, policy: Any, processor: Any, note: Callable[[str], None]):
        self._policy, self._processor, self._note = policy, processor, note
        self._items = draw_items("grpo-held-out", HELD_OUT, 0)
        self.found: list[dict[str, float]] = []
        self.shown: list[list[Any]] = []
        self.step_seconds: list[float] = []

    def examine(self, step: int) -> None:
        """Add a measurement."""
        answers = answer(self._policy, self._processor, self._items, seed=0)
        true = truths(self._items, answers)
        shown = zip(self._items[:SHOWN], answers, true, strict=False)
        self.shown = [[ask(item.question), text, round(value, 3)] for item, text, value in shown]
        exact = float(np.mean([one == 1 for one in true]))
        self.found.append({"step": step, "truth": float(np.mean(true)), "exact": exact})
        self._note(f"step {step}: truth {np.mean(true):.3f}, exact {exact:.3f}")

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002
        """Measure the policy as it begins."""
        self.examine(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002
        """Measure the policy where it is time."""
        if state.global_step % EVALUATE_EVERY == 0:
            self.examine(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:  # noqa: ARG002
        """Keep how long each step took."""
        if logs and "step_time" in logs:
            self.step_seconds.append(float(logs["step_time"]))


def run(config: RunConfig, folder: Path, note: Callable[[str], None]) -> dict[str, Any]:
    """Train one policy.

    Args:
        config: settings of the run.
        folder: folder of `prepare.prepare`, with the start and the bundles.
        note: function that takes lines for a person.

    Returns:
        What is known of the run, as values for JSON: curves, one number a step, and measurements on held-out questions.
    """
    begin = time.monotonic()
    processor = open_processor(folder / "start")
    policy = open_policy(folder / "start", processor)
    items = draw_items("grpo-train", config.steps * config.samples // config.group, config.seed)
    reward = watched(config, folder, items)
    examiner = Examiner(policy, processor, note)
    with tempfile.TemporaryDirectory() as place:
        trainer = GRPOTrainer(
            model=policy,
            reward_funcs=reward,
            args=settings(config, place),
            train_dataset=Dataset.from_dict(columns(items)),
            processing_class=processor,
            callbacks=[examiner],
        )
        trainer.train()
    return {
        "config": asdict(config),
        "held_out": examiner.found,
        "answers": examiner.shown,
        "steps": {name: [round(value, 5) for value in values] for name, values in reward.kept.items()},
        "step_seconds": [round(value, 3) for value in examiner.step_seconds],
        "minutes": round((time.monotonic() - begin) / 60, 2),
        "machine": {
            "processor": platform.machine(),
            "instruction_sets": list(instruction_sets()),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
    }


def watched(config: RunConfig, folder: Path, items: list[Item]) -> Watched:
    """Reward function of a run."""
    arm = ARMS[config.arm]
    reward = None if arm.bundle is None else open_reward(arm, folder, config.group, config.seed)
    return Watched(reward, items, config.group)


def settings(config: RunConfig, place: str) -> GRPOConfig:
    """Settings for TRL: its own defaults but for what a small policy on a CPU needs."""
    return GRPOConfig(
        output_dir=place,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        per_device_train_batch_size=config.samples,
        num_generations=config.group,
        max_completion_length=LONGEST,
        max_steps=config.steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=5,
        seed=config.seed,
    )


def write(result: dict[str, Any], file: Path) -> None:
    """Write the result of a run, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part")
    unfinished.write_text(json.dumps(result) + "\n", "utf-8")
    unfinished.replace(file)
