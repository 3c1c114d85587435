"""Train a policy by GRPO, with a judge as its reward: every group of answers is one pass of the judge.

python -m examples.grpo_trl .demo/judge.yoj

Without more the policy is the base model of a judge of this repository, which answers questions about scenes, and often
marks its own words as true or false, a habit of its training that no question asks for. What counts is the truth of its
answers to questions that it has not seen, which the judge is never told: it is computed from the scenes.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
from pathlib import Path
from typing import Any

import click
from datasets import Dataset, Image, load_dataset
from trl import GRPOConfig, GRPOTrainer

from experiments.grpo.policy import open_policy, open_processor
from experiments.grpo.tasks import LONGEST, answer, columns, draw_items, truths
from yoj.integrations.trl import GroupReward
from yoj.runtime import Scorer
from yoj.runtime.options import readable_errors

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "checkpoints" / "shapes-qwen3_vl" / "base"
GROUP, QUESTIONS = 8, 8
"""Answers to a question, and questions a step."""
HELD_OUT = 250


@click.command()
@click.argument("judge", default=str(ROOT / ".demo" / "judge.yoj"))
@click.option("--steps", default=40, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=0, show_default=True)
@click.option("--policy", default=str(BASE), help="Folder or hub id of another policy of Qwen3-VL.")
@click.option("--data", type=click.Path(exists=True, dir_okay=False), help="JSON lines with prompt and image, a path.")
@click.option("--longest", default=LONGEST, show_default=True, help="Most tokens of an answer.")
@click.option("--learning-rate", default=1e-4, show_default=True)
@click.option("--lora", default=0, help="Rank of LoRA adapters to train, instead of all weights.")
@click.option("--gpu", is_flag=True, help="Train on a GPU, in bfloat16.")
@click.option("--out", type=click.Path(file_okay=False), help="Folder for the trained policy.")
def main(judge: str, policy: str, data: str | None, out: str | None, **options: Any) -> None:
    """Train with JUDGE, a bundle or the URL of a server; minutes on a CPU for the small policy.

    Prints the truth of its answers before and after, where the questions are those of the small task.
    """
    with readable_errors():  # before the policy is loaded
        reward = GroupReward(judge if "://" in judge else Scorer.load(judge), num_generations=GROUP)
    if importlib.util.find_spec("torchvision"):
        from transformers import AutoProcessor

        processor = AutoProcessor.from_pretrained(policy, padding_side="left")
    else:  # pictures alone need none
        processor = open_processor(Path(policy))
    model = open_policy(policy, processor, "bfloat16" if options["gpu"] else "float32")
    with tempfile.TemporaryDirectory() as place:
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=reward,
            args=settings(out or place, **options),
            train_dataset=questions(data, options["steps"], options["seed"]),
            processing_class=processor,
            peft_config=adapters(options["lora"]),
        )
        before = None if data else examine(model, processor)
        trainer.train()
        if out:
            trainer.save_model(out)
    if before is not None:
        after = examine(model, processor)
        print(f"\nTruth of the answers to {HELD_OUT} other questions: {before:.3f} before, {after:.3f} after training.")
        if after <= before:
            raise SystemExit("The policy has not become better.")


def settings(place: str, steps: int, seed: int, gpu: bool, **options: Any) -> GRPOConfig:
    """Settings for TRL; what is not here has its defaults."""
    return GRPOConfig(
        output_dir=place,
        use_cpu=not gpu,
        bf16=gpu,
        gradient_checkpointing=gpu,
        report_to=[],
        save_strategy="no",
        logging_steps=5,
        per_device_train_batch_size=GROUP * (1 if gpu else QUESTIONS),
        gradient_accumulation_steps=QUESTIONS if gpu else 1,
        num_generations=GROUP,
        max_completion_length=options["longest"],
        max_steps=steps,
        learning_rate=options["learning_rate"],
        lr_scheduler_type="constant",
        seed=seed,
    )


def questions(data: str | None, steps: int, seed: int) -> Dataset:
    """Questions of a file, or as many of the small task as the steps need."""
    if data is None:
        return Dataset.from_dict(columns(draw_items("grpo-example", steps * QUESTIONS, seed)))
    rows = load_dataset("json", data_files=data, split="train").cast_column("image", Image())
    return rows.map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]})


def adapters(rank: int) -> Any:
    """Configuration of LoRA for PEFT; None to train all weights."""
    if not rank:
        return None
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")


def examine(policy: Any, processor: Any) -> float:
    """Mean truth of the policy's answers to held-out questions, some of which are shown."""
    items = draw_items("grpo-held-out", HELD_OUT, 0)
    answers = answer(policy, processor, items, seed=0)
    true = truths(items, answers)
    for item, text, value in list(zip(items, answers, true, strict=True))[:5]:
        print(f"{item.fields()['prompt']}  {text!r}  truth {value:.2f}")
    return statistics.mean(true)


if __name__ == "__main__":
    main()
