"""Items of the study: nested sets of 2 to 64 answers, of which the best and its closest rival are in every one.

With the number of answers nothing else changes: the set of N is within the set of 2N, and the same question about the
same picture has the same best answer. That stands at every place equally often.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from yoj.runtime import Request

from ..shapes import Item, ShapesConfig, make_item
from ..shapes.answers import STYLES, Answer, Claim, grade
from ..shapes.dataset import SECONDS_BETWEEN_FRAMES
from ..shapes.scene import Description
from ..shapes.words import ask, say

SIZES = (2, 4, 8, 16, 32, 64)
KINDS = ("identify", "front", "moves")
FULL = 32
"""Answers of an item that name all three attributes; as many again name two."""
NAME, SEED = "any-n", 22
"""Name and seed of the draw. No other file of the task has them, so that no judge was trained on these scenes."""


@dataclass(frozen=True)
class Pack:
    """Some answers of an item in the order in which a judge reads them."""

    answers: tuple[Answer, ...]
    gold: int
    """Place of the best answer."""
    rival: int
    """Place of its rival."""

    def turned(self, turn: int) -> Pack:
        """Rotate the answers to the left by a number of places."""
        n = len(self.answers)
        answers = (*self.answers[turn:], *self.answers[:turn])
        return Pack(answers, (self.gold - turn) % n, (self.rival - turn) % n)


@dataclass(frozen=True)
class StudyItem:
    """Question with 64 answers."""

    index: int
    shapes: Item
    """Item of the task that it was made of, with its scene, question and frames."""
    answers: tuple[Answer, ...]
    """[64] answers: the best, its rival, the others that name all attributes, then those that name two, both in random
    order. The latter are read at N=64 alone: no judge of the task saw them beside full ones in training."""

    def pack(self, n: int) -> Pack:
        """Set of the first N answers, the best of them at a place that goes round with the items."""
        gold, *others = self.answers[:n]
        random.Random(f"{NAME} {self.index} {n}").shuffle(others)
        place = self.index % n
        answers = (*others[:place], gold, *others[place:])
        return Pack(answers, place, answers.index(self.answers[1]))

    def request(self, answers: Sequence[Answer]) -> Request:
        """Request to score some answers."""
        return request_of(self.shapes, answers)

    def ranks(self, answers: Sequence[Answer]) -> list[int]:
        """Ranks of some answers by the scene, 1 = best; equally good ones share a rank."""
        return replace(self.shapes, answers=[*answers]).rankings()

    def label(self, answer: Answer) -> str:
        """Label of an answer's grade, "right" where all of it is true."""
        return grade(self.shapes.scene, self.shapes.question, answer).label


def request_of(item: Item, answers: Sequence[Answer]) -> Request:
    """Request to score answers to the question of an item, with its picture or its frames."""
    responses = [say(item.question, answer) for answer in answers]
    if len(item.frames) == 1:
        return Request(ask(item.question), responses, images=item.frames)
    return Request(ask(item.question), responses, video=item.frames, fps=1 / SECONDS_BETWEEN_FRAMES)


def draw_items(count: int, seed: int = SEED) -> list[StudyItem]:
    """Draw items, equally many of each of `KINDS` in turn.

    Args:
        count: number of items.
        seed: seed of the draw.
    """
    return [draw_item(index, count, seed) for index in range(count)]


def draw_item(index: int, count: int, seed: int) -> StudyItem:
    """Draw one of ``count`` items.

    Raises:
        ValueError: the best answer is not the only one, or there are not 64.
    """
    kind = KINDS[index % len(KINDS)]
    item = make_item(f"{NAME}-{kind}", ShapesConfig(count, seed, FULL, (kind,)), index)
    rng = random.Random(f"{NAME} {seed} {index}")
    gold = item.answers[item.rankings().index(1)]
    rival = rng.choice([answer for answer in item.answers if _unlike(answer.claim.look, gold.claim.look) == 1])
    others = [answer for answer in item.answers if answer not in (gold, rival)]
    partial = [Answer(claim, rng.choice(STYLES)) for claim in _partial([answer.claim for answer in item.answers])]
    rng.shuffle(others)
    rng.shuffle(partial)
    drawn = StudyItem(index, item, (gold, rival, *others, *partial))
    ranks = drawn.ranks(drawn.answers)
    if len(set(drawn.answers)) != 2 * FULL or ranks[0] != 1 or ranks.count(1) != 1:
        raise ValueError(f"item {index} has {len(set(drawn.answers))} answers, {ranks.count(1)} of them best")
    return drawn


def _unlike(one: Description, other: Description) -> int:
    """Number of attributes in which two descriptions differ."""
    return sum(a != b for a, b in zip(one, other, strict=True))


def _partial(claims: Sequence[Claim]) -> list[Claim]:
    """Descriptions that leave one attribute of some full ones out, each once."""
    left_out = [{"size": None}, {"colour": None}, {"form": None}]
    looks = [claim.look._replace(**attribute) for attribute in left_out for claim in claims]
    return [Claim("look", look) for look in dict.fromkeys(looks)]
