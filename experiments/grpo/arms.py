"""Rewards that the experiment compares: each is one way to grade the answers of a group."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from yoj.integrations import RewardSettings
from yoj.integrations.trl import GroupReward
from yoj.runtime import Judgement, Request, Scorer
from yoj.runtime.errors import YojError

from ..shapes import Item
from .tasks import truths


@dataclass(frozen=True)
class Arm:
    """Reward: what it is, and the bundle that gives it."""

    name: str
    title: str
    bundle: str | None
    """Folder of the bundle below the experiment's; None for the truth."""
    separately: bool = False
    """Whether each response is scored in a pass of its own, as reward models for single responses mostly are."""


ARMS = {
    arm.name: arm
    for arm in (
        Arm("multi", "(a) multi-response judge, one pass a group", "multi.yoj"),
        Arm("single", "(b) single-response judge, N responses in one pass", "single.yoj"),
        Arm("passes", "(c) single-response judge, N passes", "single.yoj", separately=True),
        Arm("truth", "(d) the truth", None),
        Arm("multi-int8", "(a) in int8", "multi-int8.yoj"),
    )
}


class SeparatePasses:
    """Judge that scores every response in a request of its own."""

    def __init__(self, bundle: Path):
        self._scorer = Scorer.load(bundle, threads=1)

    def score_batch(self, requests: Sequence[Request], *, on_error: str) -> list[Judgement | YojError]:
        """Score requests, response by response; see `yoj.runtime.Scorer.score_batch`."""
        assert on_error == "return"
        return [self._score(request) for request in requests]

    def _score(self, request: Request) -> Judgement | YojError:
        alone = [replace(request, responses=[response]) for response in request.responses]
        found = [self._scorer.score_batch([one], on_error="return")[0] for one in alone]
        failed = [one for one in found if isinstance(one, YojError)]
        if failed:
            return failed[0]
        good = [one for one in found if isinstance(one, Judgement)]
        return replace(good[0], scores=tuple(one.scores[0] for one in good))


def open_reward(arm: Arm, folder: Path, group: int, seed: int) -> Callable[..., list[float | None]]:
    """Reward function for TRL of an arm that has a bundle."""
    assert arm.bundle is not None
    bundle = folder / arm.bundle
    judge = SeparatePasses(bundle) if arm.separately else Scorer.load(bundle, threads=1)
    return GroupReward(judge, group, settings=RewardSettings(seed=seed))


@dataclass
class Watched:
    """Reward function of a run that keeps what the truth says about the same answers, and the seconds it took."""

    reward: Callable[..., list[float | None]] | None
    """Function of `open_reward`; None for the truth as the reward."""
    items: Sequence[Item]
    group: int
    kept: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """For each call: ``truth``, ``exact`` (share of answers with truth 1), ``agreement`` (share of pairs of a group
    with unequal truths that the reward orders likewise; ties count half), ``distinct`` (unlike answers a group),
    ``seconds`` and ``score``, the mean of the judge's scores before they are centred."""

    @property
    def __name__(self) -> str:
        return "reward"

    def __call__(
        self, prompts: list[Any], completions: list[Any], item: list[int], log_metric: Any = None, **others: Any
    ) -> list[float | None]:
        """Rewards, as TRL asks for them."""
        answers = [completion[0]["content"] for completion in completions]
        true = truths([self.items[index] for index in item], answers)

        def keep(name: str, value: float) -> None:
            if name.endswith("mean_score"):
                self.kept["score"].append(value)
            log_metric(name, value)

        begin = time.perf_counter()
        if self.reward is None:
            rewards: list[float | None] = list(true)
        else:
            rewards = self.reward(prompts=prompts, completions=completions, log_metric=keep, **others)
        self.kept["seconds"].append(time.perf_counter() - begin)
        if None in rewards:
            raise RuntimeError(f"the judge failed on {rewards.count(None)} of {len(rewards)} answers")
        self.kept["truth"].append(float(np.mean(true)))
        self.kept["exact"].append(float(np.mean([one == 1 for one in true])))
        groups = range(0, len(true), self.group)
        self.kept["distinct"].append(float(np.mean([len(set(answers[at : at + self.group])) for at in groups])))
        pairs = [agreement(rewards[at : at + self.group], true[at : at + self.group]) for at in groups]
        self.kept["agreement"].append(float(np.nanmean(np.concatenate([[np.nan], *pairs]))))
        return rewards


def agreement(rewards: Sequence[float | None], true: Sequence[float]) -> np.ndarray:
    """Agreement of a reward with the truth on each pair of unequal truths: 1, 0, or a half where the reward ties."""
    first, second = np.triu_indices(len(true), 1)
    real = np.sign(np.subtract.outer(true, true))[first, second]
    given = np.sign(np.subtract.outer(np.array(rewards, float), np.array(rewards, float)))[first, second]
    return ((real * given + 1) / 2)[real != 0]
