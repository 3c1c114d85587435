"""Questions on scenes as a policy is asked them, and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from ..shapes import Item, ShapesConfig, make_item
from ..shapes.words import ask
from .grader import STILL_KINDS, truth

LONGEST = 32
"""Most tokens of an answer; the longest right one has fewer than 20."""


def draw_items(name: str, count: int, seed: int) -> list[Item]:
    """Items of the task without videos. No two names or seeds share a scene, those of the judges' training included."""
    config = ShapesConfig(count, seed, kinds=STILL_KINDS)
    return [make_item(name, config, index) for index in range(count)]


def picture(item: Item) -> Image.Image:
    """Picture of an item's scene, 64 x 64 pixels."""
    return Image.fromarray(item.frames[0])


def columns(items: Sequence[Item]) -> dict[str, list[Any]]:
    """Columns of a dataset for TRL: conversations, pictures, and the place of each item, by which it can be graded."""
    return {
        "prompt": [[{"role": "user", "content": ask(item.question)}] for item in items],
        "image": [picture(item) for item in items],
        "item": list(range(len(items))),
    }


def answer(policy: Any, processor: Any, items: Sequence[Item], seed: int) -> list[str]:
    """Answers of a policy, one sample each at temperature 1.

    Args:
        policy: a Hugging Face model that generates.
        processor: its processor, which pads on the left.
        items: the questions.
        seed: seed of the draw.
    """
    parts = [[{"type": "image", "image": picture(i)}, {"type": "text", "text": ask(i.question)}] for i in items]
    inputs = processor.apply_chat_template(
        [[{"role": "user", "content": content}] for content in parts],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    before = torch.get_rng_state()
    torch.manual_seed(seed)
    policy.eval()
    with torch.no_grad():
        rows = policy.generate(**inputs, do_sample=True, temperature=1.0, max_new_tokens=LONGEST)
    policy.train()
    torch.set_rng_state(before)
    return processor.batch_decode(rows[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def truths(items: Sequence[Item], answers: Sequence[str]) -> list[float]:
    """Truth of each answer; see `grader.truth`."""
    return [truth(item.scene, item.question, text) for item, text in zip(items, answers, strict=True)]
