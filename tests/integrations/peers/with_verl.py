"""verl's reward loop with our manager: its configuration, manager, workers and agent loop, on a local Ray.

Reads groups from the standard input, and prints what verl got for each response. It runs in verl's environment.
"""

import asyncio
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import ray
import torch
import verl
from hydra import compose, initialize_config_dir
from PIL import Image
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput, AgentLoopWorker
from verl.experimental.reward_loop.reward_loop import RewardLoopManager
from verl.utils import hf_tokenizer

asked = json.load(sys.stdin)
WIDTH = 24
"""Tokens of a prompt and of a response in a batch."""
overrides = [
    f"actor_rollout_ref.model.path={asked['tokenizer']}",
    "actor_rollout_ref.rollout.n=4",
    "actor_rollout_ref.rollout.val_kwargs.n=2",
    "reward.num_workers=3",
    "reward.reward_manager.source=importlib",
    "reward.reward_manager.name=YojRewardManager",
    "reward.reward_manager.module.path=pkg://yoj.integrations.verl",
    f"+reward.reward_kwargs.judge={asked['bundle']}",
    "+reward.reward_kwargs.settings.spread_floor=0",
    "+reward.reward_kwargs.meeting.timeout=120",
    "+reward.reward_kwargs.actor.num_cpus=0",
]
with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
    config = compose("ppo_trainer", overrides)
tokenizer = hf_tokenizer(asked["tokenizer"])


def raw_prompt(group):
    picture = {"type": "image", "image": Image.open(group["picture"]).convert("RGB")}
    return [{"role": "user", "content": [picture, {"type": "text", "text": group["prompt"]}]}]


def fields(group, session):
    """Fields of a trajectory in the V1 trainer, without tensors."""
    return {
        "uid": group["uid"],
        "session_id": session,
        "raw_prompt": raw_prompt(group),
        "data_source": "test",
        "reward_model": {"ground_truth": ""},
        "extra_info": {"split": group["split"]},
    }


def padded(ids, side):
    fill = [0] * (WIDTH - len(ids))
    mask = [0] * (WIDTH - len(ids))
    return (fill + ids, mask + [1] * len(ids)) if side == "left" else (ids + fill, [1] * len(ids) + mask)


def batch(groups):
    """Rows as the older trainer hands them to a reward model."""
    rows = [(group, session, text) for group in groups for session, text in enumerate(group["responses"])]
    prompts = [padded(tokenizer.encode(group["prompt"]), "left") for group, _, _ in rows]
    responses = [padded([*tokenizer.encode(text), tokenizer.eos_token_id], "right") for _, _, text in rows]
    tensors = {
        "prompts": torch.tensor([ids for ids, _ in prompts]),
        "responses": torch.tensor([ids for ids, _ in responses]),
        "attention_mask": torch.tensor([a + b for (_, a), (_, b) in zip(prompts, responses, strict=True)]),
    }
    others = [fields(group, session) for group, session, _ in rows]
    objects = {}
    for name in others[0]:
        objects[name] = np.empty(len(rows), dtype=object)
        objects[name][:] = [other[name] for other in others]
    return DataProto.from_dict(tensors, non_tensors=objects)


def output(prompt, response):
    ids = [*tokenizer.encode(response), tokenizer.eos_token_id]
    return AgentLoopOutput(
        prompt_ids=tokenizer.encode(prompt), response_ids=ids, response_mask=[1] * len(ids), metrics=AgentLoopMetrics()
    )


async def streamed(workers, groups):
    """Rewards of trajectories, which verl's agent loop sends one by one to any worker. Each had another turn before."""
    loop = types.SimpleNamespace(
        reward_loop_worker_handles=workers,
        _compute_multi_modal_inputs=lambda *_: {},
        _get_mm_processor_kwargs=lambda *_: {},
        _compute_position_ids=lambda ids, *_: torch.arange(ids.shape[-1])[None],
    )

    async def one(group, session, text):
        outputs = [output("Go on.", "A first turn that is much longer than what follows it."), output("And?", text)]
        try:
            await AgentLoopWorker._compute_score(loop, outputs, fields(group, session))
        except Exception as error:
            return {"error": str(error)}
        return {"reward": outputs[-1].reward_score, "extra": outputs[-1].extra_fields["reward_extra_info"]}

    tasks = [one(group, session, text) for group in groups for session, text in enumerate(group["responses"])]
    found = iter(await asyncio.gather(*reversed(tasks)))
    backwards = [[next(found) for _ in group["responses"]] for group in reversed(groups)]
    return [rows[::-1] for rows in backwards[::-1]]


ray.init(
    num_cpus=2,
    include_dashboard=False,
    object_store_memory=200_000_000,
    runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"], "OMP_NUM_THREADS": "1"}},
)
manager = RewardLoopManager(config)
scored = manager.compute_rm_score(batch(asked["batch"]))
answer = {
    "batch": scored.batch["rm_scores"].sum(dim=1).tolist(),
    "places": scored.batch["rm_scores"].ne(0).sum(dim=1).tolist(),
    "extra": {name: values.tolist() for name, values in scored.non_tensor_batch.items()},
    "streamed": asyncio.run(streamed(manager.reward_loop_workers, asked["streamed"])),
}
ray.shutdown()
print(json.dumps(answer))
