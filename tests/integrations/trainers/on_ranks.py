"""One rank of several: calls a reward with its share of each case, and prints what it was given.

Arguments: number of this rank, number of ranks, file in which they meet, file of cases. See test_trl_ranks.py.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import warnings
from types import SimpleNamespace

import torch.distributed as dist
from PIL import Image

from yoj.integrations import RewardSettings
from yoj.integrations.trl import AsyncGroupReward, GroupReward


def call(case: dict, rank: int, count: int) -> dict:
    """Result of one case, of the rows of a rank, or of all where there is one."""
    rows = [row for share in case["rows"] for row in share] if count == 1 else case["rows"][rank]
    kind = AsyncGroupReward if case.get("asynchronous") else GroupReward
    judge = case["judges"][rank]
    settings = RewardSettings(spread_floor=0.0)
    reward = kind(judge, case["size"], settings=settings, on_error=case.get("on_error", "none"))
    metrics, extra = [], {}
    given = {
        "prompts": [row[0] for row in rows],
        "completions": [row[1] for row in rows][: case.get("completions", {}).get(str(rank))],
        "image": [row[2] and Image.new("RGB", (40, 40), row[2]) for row in rows],
        "trainer_state": SimpleNamespace(global_step=5),
        "log_metric": lambda name, value: metrics.append([name, value]),
        "log_extra": lambda name, values: extra.update({name: values}),
    }
    try:
        rewards = reward(**given)
        rewards = asyncio.run(rewards) if inspect.isawaitable(rewards) else rewards
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"rewards": rewards, "metrics": metrics, "extra": extra}


def main(rank: int, count: int, meeting: str, cases: str) -> None:
    warnings.simplefilter("ignore")
    if count > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    with open(cases) as file:
        print(json.dumps({name: call(case, rank, count) for name, case in json.load(file).items()}))
    if count > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
