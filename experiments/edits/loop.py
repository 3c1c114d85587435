"""Judges as the reward of an editor: it proposes a group of edits, the judge scores the group in one pass.

A judge errs most about edits of kinds that it was not trained on, and a free editor finds them. As in Flow-GRPO it is
therefore held near what it was before the reward, by the Kullback-Leibler divergence from it.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from yoj.runtime import Image, Request, Scorer

from ..any_n.results import Record, Results
from .dataset import make_item
from .drawing import Drawing
from .editor import Asked, Choices, Editor, draw_choices
from .grades import BANDS, grade
from .items import EditItem

GROUP, ITEMS = 4, 24
"""Edits of each request, and requests of each step."""
LEARNING_RATE, FLOOR = 5e-4, 0.05
"""Step size, and least standard deviation that rewards of a group are divided by."""
EVALUATED, EVERY = 400, 50
"""Held-out requests, and steps from one measurement to the next."""
Note = Callable[[str], None]
"""Function that takes lines for a person."""
Reward = Callable[[Sequence[EditItem], Sequence[Sequence[Drawing]]], NDArray[np.float32]]
"""Function from B items and a group of edits of each to rewards, float32 [B, N]."""


@dataclass(frozen=True)
class LoopConfig:
    """Settings of a run."""

    seed: int
    """Seed of the first editor, of edits and of requests."""
    imitation: int
    """Steps of imitation before any reward."""
    steps: int
    """Steps with the reward."""
    kl: float
    """Weight of the divergence from the editor before the reward, in nats an edit."""


def truth(items: Sequence[EditItem], groups: Sequence[Sequence[Drawing]]) -> NDArray[np.float32]:
    """True grades as rewards, the most that a judge could tell."""
    return np.array(
        [[grade(i.source, i.parts, edit).overall for edit in edits] for i, edits in zip(items, groups, strict=True)],
        np.float32,
    )


def reward_of(scorer: Scorer) -> Reward:
    """Rewards by a judge: the scores of each group from one joint pass."""

    def rewards(items: Sequence[EditItem], groups: Sequence[Sequence[Drawing]]) -> NDArray[np.float32]:
        requests = [request_of(item, edits) for item, edits in zip(items, groups, strict=True)]
        return np.array([judgement.scores for judgement in scorer.score_batch(requests)], np.float32)

    return rewards


def request_of(item: EditItem, edits: Sequence[Drawing]) -> Request:
    """Request to judge edits of an item's source."""
    return Request([Image(item.source.pixels()), item.instruction], [[Image(edit.pixels())] for edit in edits])


def teach(
    results: Path, reward: tuple[str, Path | None], config: LoopConfig, first: Callable[[], Editor], note: Note
) -> None:
    """Train an editor with one reward and add its figures to a file of the results, unless they are there.

    Args:
        results: folder of the results.
        reward: its name, and the bundle of the judge; None for the truth.
        config: settings.
        first: function that gives the editor before any reward.
        note: function that takes lines for a person.
    """
    name, bundle = reward
    scorer = None if bundle is None else Scorer.load(bundle, threads=1)
    about = {"judge": None if scorer is None else scorer.manifest.digest, **asdict(config)}
    kept = Results(results / f"loop-{name}-kl-{config.kl:g}-seed-{config.seed}.json", about)
    given = truth if scorer is None else reward_of(scorer)
    kept.add({"reward": name, "kl": config.kl, "seed": config.seed}, lambda: run(first(), given, config, note))


def run(first: Editor, reward: Reward, config: LoopConfig, note: Note) -> Record:
    """Train a copy of an editor; returns the truth of its edits of held-out sources as it goes.

    Args:
        first: editor before any reward, which is left as it is.
        reward: reward of a group.
        config: settings.
        note: function that takes lines for a person.
    """
    editor = copy.deepcopy(first)
    optimizer = torch.optim.AdamW(editor.parameters(), LEARNING_RATE)
    generator = torch.Generator().manual_seed(config.seed)
    found = [{"step": 0} | examine(editor)]
    for step in range(config.steps):
        items = [make_item("loop", config.seed, index) for index in range(step * ITEMS, (step + 1) * ITEMS)]
        asked, choices, groups = _propose(editor, items, generator, random.Random(f"loop {config.seed} {step}"))
        chances = editor(asked)
        gain = (_advantages(reward(items, groups)) * chances.log_likelihood(choices)).mean()
        with torch.no_grad():
            before = first(asked)
        (config.kl * chances.divergence(before).mean() - gain).backward()
        torch.nn.utils.clip_grad_norm_(editor.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % EVERY == 0 or step + 1 == config.steps:
            found.append({"step": step + 1} | examine(editor))
            note(f"step {step + 1} of {config.steps}: grade {found[-1]['grade']:.3f}, right {found[-1]['right']:.3f}")
    return {"measurements": found}


def examine(editor: Editor) -> dict[str, float]:
    """Truth of one edit of each held-out source: mean sum of both bands, 2 to 8, and share that is right."""
    items = [make_item("loop-held-out", 0, index) for index in range(EVALUATED)]
    choices = editor.sample(editor.read(items), torch.Generator().manual_seed(0))
    edits = draw_choices([item.source for item in items], choices, random.Random("loop-held-out"))
    grades = truth(items, [[edit] for edit in edits])
    return {"grade": float(grades.mean()), "right": float((grades == 2 * BANDS).mean())}


def _propose(
    editor: Editor, items: Sequence[EditItem], generator: torch.Generator, rng: random.Random
) -> tuple[Asked, Choices, list[list[Drawing]]]:
    """Group of edits of each item, and what was asked and chosen for each edit."""
    copies = [item for item in items for _ in range(GROUP)]
    asked = editor.read(copies)
    choices = editor.sample(asked, generator)
    drawn = draw_choices([item.source for item in copies], choices, rng)
    return asked, choices, [drawn[begin : begin + GROUP] for begin in range(0, len(drawn), GROUP)]


def _advantages(rewards_BN: NDArray[np.float32]) -> torch.Tensor:
    """Advantages of GRPO, float32 [B * N]: how far each edit is above the mean of its group, in its deviations."""
    spread_B1 = np.maximum(rewards_BN.std(axis=1, keepdims=True), FLOOR)
    return torch.from_numpy(((rewards_BN - rewards_BN.mean(axis=1, keepdims=True)) / spread_B1).flatten())
