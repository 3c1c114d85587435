"""Judges as the reward of an editor: it proposes a group of edits, the judge scores the group in one pass."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from yoj.runtime import Image, Request, Scorer

from ..any_n.results import Record
from .dataset import make_item
from .drawing import Drawing
from .editor import Editor, draw_choices
from .grades import BANDS, grade
from .imitation import first_editor
from .items import EditItem

GROUP, ITEMS = 4, 24
"""Edits of each request, and requests of each step."""
LEARNING_RATE, FLOOR = 5e-4, 0.05
"""Step size, and least standard deviation that rewards of a group are divided by."""
EVALUATED, EVERY = 400, 50
"""Held-out requests, and steps from one measurement to the next."""
Reward = Callable[[Sequence[EditItem], Sequence[Sequence[Drawing]]], NDArray[np.float32]]
"""Function from B items and a group of edits of each to rewards, float32 [B, N]."""


@dataclass(frozen=True)
class LoopConfig:
    """Settings of a run."""

    seed: int
    """Seed of the first editor, its edits and the requests."""
    imitation: int
    """Steps of imitation before any reward."""
    steps: int
    """Steps with the reward."""


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


def run(tokenizer: Path, reward: Reward, config: LoopConfig, note: Callable[[str], None]) -> Record:
    """Train one editor; returns the truth of its edits of held-out sources as it goes.

    Args:
        tokenizer: file of the tokenizer with which the editor reads.
        reward: reward of a group.
        config: settings.
        note: function that takes lines for a person.
    """
    editor = first_editor(tokenizer, config.seed, config.imitation, note)
    optimizer = torch.optim.AdamW(editor.parameters(), LEARNING_RATE)
    generator = torch.Generator().manual_seed(config.seed)
    found = [{"step": 0} | examine(editor)]
    for step in range(config.steps):
        items = [make_item("loop", config.seed, index) for index in range(step * ITEMS, (step + 1) * ITEMS)]
        loss = _loss(editor, items, reward, generator, random.Random(f"loop {config.seed} {step}"))
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
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


def _loss(
    editor: Editor, items: Sequence[EditItem], reward: Reward, generator: torch.Generator, rng: random.Random
) -> torch.Tensor:
    """Policy gradient of GRPO, one step a sample: each edit by how far its reward is above its group's mean."""
    copies = [item for item in items for _ in range(GROUP)]
    asked = editor.read(copies)
    choices = editor.sample(asked, generator)
    drawn = draw_choices([item.source for item in copies], choices, rng)
    rewards = reward(items, [drawn[begin : begin + GROUP] for begin in range(0, len(drawn), GROUP)])
    spread = np.maximum(rewards.std(axis=1, keepdims=True), FLOOR)
    advantages = torch.from_numpy(((rewards - rewards.mean(axis=1, keepdims=True)) / spread).flatten())
    return -(advantages * editor.log_likelihood(asked, choices)).mean()
