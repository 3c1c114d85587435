"""Trainers of TRL with a tiny policy and the reward of groups; prints what the reward was asked and gave.

Arguments: bundle, folder for what the trainer writes, names of cases. With ``replay`` the calls that it reads from
standard input are made again, without a trainer. The environment names the rank, where there are several.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from yoj.integrations import RewardSettings
from yoj.integrations.trl import AsyncGroupReward, GroupReward
from yoj.runtime import Scorer

SETTINGS = RewardSettings(spread_floor=0.0)
TOKENIZER = Path(__file__).parents[3] / "checkpoints" / "shapes-qwen3_vl" / "base"
QUESTIONS = ("What is shown?", "How many circles are there?", "Where is the square?", "What moves?")
COLUMN = [f"column {k}" for k in range(len(QUESTIONS))]


def recorded(kind: type, calls: list[dict]) -> type:
    """The reward function, which keeps what it is called with and gives."""

    def keep(prompts, completions, given, rewards, extra):
        trainer = getattr(given.get("log_metric"), "__self__", None)
        calls.append(
            {
                "prompts": prompts,
                "completions": completions,
                "step": given["trainer_state"].global_step,
                "columns": sorted(given),
                "training": trainer and trainer.model.training,
                "rewards": rewards,
                "place": next((values for name, values in extra.items() if name.endswith("_place")), None),
            }
        )
        return rewards

    def with_extra(given):
        extra: dict = {}
        if log_extra := given.get("log_extra"):
            given["log_extra"] = lambda name, values: (extra.update({name: values}), log_extra(name, values))
        return extra

    class Sync(kind):
        def __call__(self, prompts, completions, **given):
            extra = with_extra(given)
            return keep(prompts, completions, given, super().__call__(prompts, completions, **given), extra)

    class Async(kind):
        async def __call__(self, prompts, completions, **given):
            extra = with_extra(given)
            return keep(prompts, completions, given, await super().__call__(prompts, completions, **given), extra)

    return Async if kind is AsyncGroupReward else Sync


def policy(folder: Path):
    """Tiny Qwen3 with random weights, and its tokenizer."""
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16}
    config = Qwen3Config(vocab_size=len(tokenizer), num_attention_heads=2, num_key_value_heads=1, **sizes)
    model = Qwen3ForCausalLM(config)
    if "RANK" in os.environ:  # of several ranks, of which one alone would write
        return model, tokenizer
    model.save_pretrained(folder / "policy")  # where trainers load their reference from
    return Qwen3ForCausalLM.from_pretrained(folder / "policy"), tokenizer


def data(conversational: bool):
    from datasets import Dataset

    prompts = [[{"role": "user", "content": text}] if conversational else text for text in QUESTIONS]
    return Dataset.from_dict({"prompt": prompts, "solution": COLUMN})


def arguments(folder: Path, **own) -> dict:
    common = {"max_steps": 2, "logging_steps": 1, "learning_rate": 1e-3, "seed": 3}
    of_cpu = {"use_cpu": True, "bf16": False, "report_to": [], "save_strategy": "no", "disable_tqdm": True}
    return common | of_cpu | {"output_dir": str(folder)} | own


def grpo(bundle: str, folder: Path, **own) -> dict:
    from trl import GRPOConfig, GRPOTrainer

    calls: list[dict] = []
    reward = recorded(GroupReward, calls)(bundle, 4, own.get("num_generations_eval"), SETTINGS)
    sizes = {"per_device_train_batch_size": 2, "num_generations": 4, "max_completion_length": 8}
    args = GRPOConfig(**arguments(folder, **(sizes | own)))
    model, tokenizer = policy(folder)
    datasets = {"train_dataset": data(False), "eval_dataset": data(False)}
    trainer = GRPOTrainer(model, reward_funcs=reward, args=args, processing_class=tokenizer, **datasets)
    trainer.train()
    return {"calls": calls, "history": trainer.state.log_history}


def rloo(bundle: str, folder: Path) -> dict:
    from trl import RLOOConfig, RLOOTrainer

    calls: list[dict] = []
    rewards = [recorded(kind, calls)(bundle, 4, settings=SETTINGS) for kind in (GroupReward, AsyncGroupReward)]
    rewards[1].__name__ = "beside"
    sizes = {"per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 8}
    model, tokenizer = policy(folder)
    args = RLOOConfig(**arguments(folder, **sizes))
    trainer = RLOOTrainer(model, reward_funcs=rewards, args=args, processing_class=tokenizer, train_dataset=data(True))
    trainer.train()
    return {"calls": calls, "history": trainer.state.log_history}


def online_dpo(bundle: str, folder: Path) -> dict:
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    calls: list[dict] = []
    reward = recorded(GroupReward, calls)(bundle, 2, settings=SETTINGS)
    model, tokenizer = policy(folder)
    args = OnlineDPOConfig(**arguments(folder, per_device_train_batch_size=3, max_new_tokens=8))
    trainer = OnlineDPOTrainer(
        model, reward_funcs=reward, args=args, processing_class=tokenizer, train_dataset=data(False)
    )
    trainer.train()
    return {"calls": calls, "history": trainer.state.log_history}


CASES = {
    "grpo": lambda bundle, folder: grpo(
        bundle,
        folder,
        gradient_accumulation_steps=4,
        eval_strategy="steps",
        eval_steps=1,
        num_generations_eval=2,
        per_device_eval_batch_size=4,
    ),
    "rloo": rloo,
    "online_dpo": online_dpo,
    "straddling": lambda bundle, folder: grpo(bundle, folder, gradient_accumulation_steps=1, num_iterations=1),
}


def expected(scorer: Scorer, call: dict, size: int) -> list[float]:
    """Rewards of a call with adjacent groups, from the scorer, in the orders that were logged."""
    rewards: list[float] = []
    for begin in range(0, len(call["prompts"]), size):
        own = slice(begin, begin + size)
        texts = [one if isinstance(one, str) else one[0]["content"] for one in call["completions"][own]]
        place = dict(zip(texts, call["place"][own], strict=True))
        order = sorted(place, key=place.__getitem__)
        scores = dict(zip(order, scorer.score(call["prompts"][begin], order).scores, strict=True))
        scores_N = np.array([scores[text] for text in texts])
        rewards += (scores_N - scores_N.mean()).tolist()
    return rewards


def replayed(bundle: str, calls: list[dict], size: int) -> list[list[float]]:
    reward = GroupReward(bundle, size, settings=SETTINGS)
    state = [SimpleNamespace(global_step=call["step"]) for call in calls]
    given = [{"trainer_state": one, "log_metric": lambda name, value: None} for one in state]
    return [reward(call["prompts"], call["completions"], **more) for call, more in zip(calls, given, strict=True)]


def main(bundle: str, folder: str, *names: str) -> None:
    warnings.simplefilter("ignore")
    if names == ("replay",):
        print(json.dumps(replayed(bundle, json.load(sys.stdin), 4)))
        return
    found = {}
    for name in names:
        found[name] = CASES[name](bundle, Path(folder) / name / os.environ.get("RANK", "0"))
    scorer = Scorer.load(bundle)
    for call in [call for name in ("grpo", "rloo") for call in found.get(name, {"calls": []})["calls"]]:
        call["expected"] = expected(scorer, call, 2 if call["training"] is False else 4)
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
