"""ms-swift's own scoring and advantages with our reward, found by its name. Prints both."""

import json
import sys
import types

import torch
from swift.rewards import orms
from swift.rl_core.advantage import compute_advantages
from swift.rl_core.data import GRPOSample
from swift.rl_core.grpo_algorithm import score_completions

from yoj.integrations import RewardSettings
from yoj.integrations.swift import register

asked = json.load(sys.stdin)
register(asked["bundle"], RewardSettings(spread_floor=0))
args = types.SimpleNamespace(**asked["args"])
reward = orms["yoj"](args=args)
samples = [
    GRPOSample.from_row(
        {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["response"]},
            ],
            "images": row["images"],
            "prompt_id": row["prompt_id"],
            "request_id": f"request {k}",
            "solution": "",
        }
    )
    for k, row in enumerate(asked["rows"])
]
rewards = score_completions(
    samples, [reward], [None], False, torch.device("cpu"), types.SimpleNamespace(global_step=asked["step"])
)
advantages, _ = compute_advantages(rewards, torch.ones(1), args.num_generations, scale_rewards="none")
print(
    "\n"
    + json.dumps(
        {"rewards": [None if x != x else x for x in rewards[:, 0].tolist()], "advantages": advantages.tolist()}
    )
)
