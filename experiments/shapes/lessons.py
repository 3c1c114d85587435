"""Lessons of a base before it becomes a judge: descriptions and answers, and which of their words are true.

A model that has only learnt to say what it sees does not compare what it reads with it. Marked texts therefore have
words exchanged, and most words that could have been are followed by "true" or "false". The marks come without notice,
so that a reader who wants to know them has to compare at every word; which words are exchanged is drawn for each word
alone, so that no mark can be told from the text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import NamedTuple

from .answers import STYLES, Answer, Claim, Question, count, grade
from .questions import draw
from .scene import ATTRIBUTES, PLACES, Description, Look, Scene, draw_moving_scene, draw_scene
from .words import NUMBERS, ask, caption, noun, plural, say, sentence

EXCHANGED, BEST_SHARE, MARK_SHARE = 0.4, 0.4, 0.6
"""Probabilities: a word of a marked description is false, a marked answer is the best of its item beyond its chance,
and a word which could have been exchanged has a mark."""
ATTRIBUTE_WORDS = tuple(ATTRIBUTES.values())
ROWS_AND_COLUMNS = (("top", "bottom"), ("left", "right"))
COUNTED = NUMBERS[:9]
SUBJECTS = (
    Description(),
    *(Description(**{name: value}) for name, values in ATTRIBUTES.items() for value in values),
)
LISTED = 6
"""Subjects that one text counts."""

Vocabulary = tuple[tuple[str, ...], ...]


class Lesson(NamedTuple):
    """Prompt and text, for language modelling on a scene."""

    prompt: str
    text: str
    kind: str
    scene: Scene


def describe(rng: random.Random, video: bool, marked: bool) -> Lesson:
    """Description of a scene, by place, by shape or by number."""
    scene = draw_moving_scene(rng) if video else draw_scene(rng)
    prompt, text, vocabulary = rng.choice((_by_place, _by_look, _by_number))(scene, rng)
    if marked:
        text = _mark(text, vocabulary, lambda word, values: _exchange(word, values, rng), rng)
    return Lesson(prompt, text, "marked" if marked else "caption", scene)


def answer(rng: random.Random, kind: str, marked: bool) -> Lesson:
    """Right answer to a question of a kind, or one of four with marks."""
    question, answers, scene = draw(rng, kind, 4)
    best = max(answers, key=lambda one: grade(scene, question, one).quality)
    right = _right(scene, question, best.claim)
    if not marked:
        return Lesson(ask(question), say(question, Answer(right, rng.choice(STYLES))), kind, scene)
    chosen = best if rng.random() < BEST_SHARE else rng.choice(answers)
    true = set(_words(say(question, Answer(right, chosen.style))))
    text = _mark(say(question, chosen), _asked(question), lambda word, _: (word, word in true), rng)
    return Lesson(ask(question), text, "marked", scene)


def _by_place(scene: Scene, _: random.Random) -> tuple[str, str, Vocabulary]:
    return *caption(scene), ATTRIBUTE_WORDS


def _by_look(scene: Scene, rng: random.Random) -> tuple[str, str, Vocabulary]:
    """Places of the shapes that few words tell from all others, in random order."""
    parts: list[str] = []
    for number, looks in enumerate(scene.places):
        for look in looks:
            named = [about for about in _ways_to_name(look) if sum(about.fits(other) for other in scene.looks()) == 1]
            if named:
                parts.append(f"the {noun(rng.choice(named))} is in the {PLACES[number]}")
    rng.shuffle(parts)
    return "Name the shapes.", " ".join(map(sentence, parts)) or "Nothing.", ROWS_AND_COLUMNS


def _ways_to_name(look: Look) -> list[Description]:
    size, colour, form = look
    return [Description(colour=colour), Description(None, colour, form), Description(size, colour, form)]


def _by_number(scene: Scene, rng: random.Random) -> tuple[str, str, Vocabulary]:
    parts = [f"{plural(about)}: {NUMBERS[count(scene, about)]}" for about in rng.sample(SUBJECTS, LISTED)]
    return "Count the shapes.", " ".join(map(sentence, parts)), (COUNTED,)


def _asked(question: Question) -> Vocabulary:
    """Words of an answer that the question is about."""
    if question.kind == "count":
        return (COUNTED,)
    if question.asks in ("where", "go"):
        return (*ROWS_AND_COLUMNS, ("stay", "stays", "nowhere"))
    return (*ATTRIBUTE_WORDS, ("nothing",))


def _right(scene: Scene, question: Question, best: Claim) -> Claim:
    """Claim that is right without comparison; `best` is so already but for counts and descriptions."""
    if question.kind == "count":
        return Claim("number", number=count(scene, question.about))
    if question.kind == "specific":
        looks = scene.places[question.place]
        return Claim("look", Description(*looks[0])) if looks else Claim("nothing")
    return best


def _words(text: str) -> list[str]:
    return re.findall("[a-z]+", text.lower())


def _exchange(word: str, values: tuple[str, ...], rng: random.Random) -> tuple[str, bool]:
    if rng.random() >= EXCHANGED:
        return word, True
    return rng.choice([other for other in values if other != word]), False


def _mark(
    text: str,
    vocabulary: Vocabulary,
    judge: Callable[[str, tuple[str, ...]], tuple[str, bool]],
    rng: random.Random,
) -> str:
    """Text with each word of the vocabulary as `judge` has it, and a mark behind most of them."""

    def replace(found: re.Match[str]) -> str:
        word = found.group()
        values = next((values for values in vocabulary if word in values), None)
        if values is None:
            return word
        said, true = judge(word, values)
        return f"{said} {'true' if true else 'false'}" if rng.random() < MARK_SHARE else said

    return re.sub("[a-z]+", replace, text)
