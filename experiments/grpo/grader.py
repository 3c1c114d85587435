"""Truth about free answers to questions on scenes: what the policies of the experiment are measured by."""

from __future__ import annotations

import functools
import itertools

from ..shapes.answers import KINDS, STAYS, STYLES, Answer, Claim, Question, count, grade
from ..shapes.scene import ATTRIBUTES, PLACES, Description, Scene
from ..shapes.words import NUMBERS, say

STILL_KINDS = tuple(kind for kind in KINDS if kind != "moves")
"""Kinds of questions about pictures; trainers of policies hand over no videos."""
COUNT_TRUTH = {0: 1.0, 1: 0.5}
"""Truth of a count by its distance from the real one; further ones are worth nothing."""


def truth(scene: Scene, question: Question, text: str) -> float:
    """Truth of an answer, from 0 to 1.

    It is the grade by the scene (`yoj`'s task ``shapes``) over that of the best answer there is: 1 for an answer that
    is right and says all; less for one that is vague or partly right; 0 for a false one, for empty talk, and for a text
    that is no answer to the question.
    """
    answer = read(question, text)
    if answer is None:
        return 0.0
    if question.kind == "count":
        return COUNT_TRUTH.get(abs(answer.claim.number - count(scene, question.about)), 0.0)
    best = max(grade(scene, question, Answer(claim, "plain")).quality for claim in claims(question))
    return max(0.0, grade(scene, question, answer).quality / best)


def read(question: Question, text: str) -> Answer | None:
    """Answer that a text states in one of the styles of the task; None for a text that is none."""
    return _answers(question).get(text.strip())


@functools.cache
def _answers(question: Question) -> dict[str, Answer]:
    ways = [Answer(claim, style) for claim in claims(question) for style in STYLES]
    return {say(question, answer): answer for answer in ways}


def claims(question: Question) -> list[Claim]:
    """All claims that answers to a question may make."""
    if question.kind == "count":
        return [Claim("number", number=number) for number in range(len(NUMBERS))]
    if question.kind == "where":
        return [Claim("number", number=place) for place in range(len(PLACES))]
    if question.asks == "go":
        return [Claim("number", number=place) for place in (*range(len(PLACES)), STAYS)]
    values = [(None, *names) for names in ATTRIBUTES.values()]
    looks = [Claim("look", Description(*named)) for named in itertools.product(*values)]
    if question.kind == "specific":
        return [*looks, Claim("nothing"), Claim("talk")]
    return looks
