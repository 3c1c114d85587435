"""One rank of several: calls a reward of images with its share of each case, and prints what it was given.

Arguments: number of this rank, number of ranks, file in which they meet, file of cases. See test_flow_grpo_ranks.py.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch.distributed as dist
from PIL import Image

from yoj.integrations import RewardSettings
from yoj.integrations.flow_grpo import ImageGroups, ImageReward
from yoj.runtime import Scorer


def drawn(seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((56, 56), Image.Resampling.BICUBIC)) / 255


opened = functools.cache(Scorer.load)


def made(case: dict, rank: int) -> ImageReward:
    groups = ImageGroups(case.get("size", 4), gather=case.get("gather", True))
    judge = case["judges"][rank]
    judge = opened(judge) if Path(judge).exists() else judge
    return ImageReward(judge, groups, RewardSettings(spread_floor=0.0), case.get("on_error", "raise"))


def call(reward: ImageReward, case: dict, rank: int, count: int) -> dict:
    """Result of one call, of the rows of a rank, or of all where there is one."""
    rows = [row for share in case["rows"] for row in share] if count == 1 else case["rows"][rank]
    images = [drawn(seed) for _, _, seed in rows]
    for image, (_, _, seed) in zip(images, rows, strict=True):
        image[: seed in case.get("spoilt", ())] = np.nan
    prompts = [prompt for prompt, _, _ in rows][: case.get("prompts", {}).get(str(rank))]
    try:
        rewards, details = reward(np.stack(images), prompts, {}, [drawn(source) for _, source, _ in rows])
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    scores = [None if np.isnan(score) else score for score in details["score"]]
    return {"rewards": rewards, "score": scores, "group": details["group"], "failures": details["failures"]}


def from_threads(reward: ImageReward, case: dict, rank: int, count: int) -> dict:
    """Results of calls of which each is made before the last one has its rewards, as Flow-GRPO does."""
    calls = []
    for k in range(4):
        shares = [[[prompt, source, seed + 50 * k] for prompt, source, seed in share] for share in case["rows"]]
        calls.append(case | {"rows": shares})
    with ThreadPoolExecutor(8) as executor:
        futures = []
        for one in calls:
            futures.append(executor.submit(call, reward, one, rank, count))
            while reward._turns._came <= len(futures) - 1:  # the next images take a trainer longer than this
                time.sleep(0.001)
        results = [future.result() for future in futures]
    return {name: [one[name] for one in results] for name in results[0]}


def main(rank: int, count: int, meeting: str, file: str) -> None:
    with open(file) as opened:
        cases = json.load(opened)
    early = made(cases["made too early"], rank)
    if count > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    found = {}
    for name, case in cases.items():
        reward = early if name == "made too early" else made(case, rank)
        found[name] = (from_threads if case.get("threads") else call)(reward, case, rank, count)
    print(json.dumps(found))
    if count > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
