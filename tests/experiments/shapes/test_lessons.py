"""Texts for a base: descriptions and answers are true, and marks say which words are not."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from experiments.shapes import ANSWERS, CAPTIONS, KINDS, MARKED, ShapesConfig, make_caption
from experiments.shapes.answers import Question, count
from experiments.shapes.lessons import SUBJECTS, Lesson, answer, describe
from experiments.shapes.scene import COLOURS, PLACES, Scene
from experiments.shapes.words import NUMBERS, caption, noun, plural

Word = tuple[str, bool | None]


def words(text: str) -> list[Word]:
    """Each word, and what the mark behind it says."""
    found: list[Word] = []
    for word in re.findall("[a-z]+", text.lower()):
        if word in ("true", "false"):
            found[-1] = (found[-1][0], word == "true")
        else:
            found.append((word, None))
    return found


def facts(lesson: Lesson) -> list[str]:
    """The words of a description if all of them were true, in the order of the text."""
    if lesson.prompt.startswith("Describe"):
        return re.findall("[a-z]+", caption(lesson.scene)[1].lower())
    said = [[word for word, _ in words(part)] for part in lesson.text.split(".") if part.strip()]
    if lesson.prompt == "Name the shapes.":
        return [word for sentence in said for word in (*sentence[:-2], *place_of(sentence, lesson.scene).split())]
    return [word for sentence in said for word in (*sentence[:-1], number_of(sentence, lesson.scene))]


def place_of(sentence: list[str], scene: Scene) -> str:
    name = " ".join(sentence[1 : sentence.index("is")])
    looks = [(look, place) for place, there in enumerate(scene.places) for look in there]
    fitting = [place for look, place in looks if set(name.split()) - {"shape"} <= set(look)]
    assert len(fitting) == 1, f"{name} names {len(fitting)} shapes"
    return PLACES[fitting[0]]


def number_of(sentence: list[str], scene: Scene) -> str:
    (about,) = [one for one in SUBJECTS if plural(one) == " ".join(sentence[:-1])]
    return NUMBERS[count(scene, about)]


@pytest.mark.slow
@pytest.mark.parametrize("video", [False, True])
def test_plain_descriptions_are_true(video):
    prompts = Counter[str]()
    for seed in range(200):
        lesson = describe(random.Random(seed), video, marked=False)
        prompts[lesson.prompt] += 1
        if lesson.text != "Nothing.":
            assert words(lesson.text) == [(word, None) for word in facts(lesson)]
    assert len(prompts) == 3
    assert min(prompts.values()) > 40


@pytest.mark.slow
def test_marks_of_descriptions_say_which_words_were_exchanged():
    marks = Counter[bool]()
    for seed in range(400):
        lesson = describe(random.Random(seed), seed % 4 == 0, marked=True)
        if lesson.text == "Nothing.":
            continue
        for (said, mark), true in zip(words(lesson.text), facts(lesson), strict=True):
            if mark is not None:
                assert mark == (said == true), f"{lesson}: {said} for {true}"
                marks[mark] += 1
    assert abs(marks[False] / marks.total() - 0.4) < 0.05


def test_words_without_marks_are_exchanged_as_often():
    """Or what stands without a mark would be true, and marks could be foreseen."""
    exchanged = [
        said != true
        for seed in range(300)
        for lesson in [describe(random.Random(seed), False, marked=True)]
        if lesson.prompt == "Describe the picture."
        for (said, mark), true in zip(words(lesson.text), facts(lesson), strict=True)
        if mark is None and true in COLOURS
    ]
    assert abs(sum(exchanged) / len(exchanged) - 0.4) < 0.07


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_plain_answers_are_true_and_marks_of_answers_agree_with_them(kind):
    marks = Counter[bool]()
    for seed in range(150):
        plain, marked = (answer(random.Random(seed), kind, marked=one) for one in (False, True))
        assert (plain.prompt, plain.scene) == (marked.prompt, marked.scene)
        true = {word for word, _ in words(plain.text)}
        for word, mark in words(marked.text):
            if mark is not None and word not in ("nothing", "nowhere", "stay", "stays"):
                assert mark == (word in true), f"{marked} against {plain.text}"
                marks[mark] += 1
    assert min(marks[True], marks[False]) > 10


def test_a_right_answer_says_the_count_and_the_whole_look():
    for seed in range(100):
        lesson = answer(random.Random(seed), "count", marked=False)
        (about,) = [one for one in SUBJECTS if f"How many {plural(one)} are there?" == lesson.prompt]
        assert NUMBERS[count(lesson.scene, about)] in [word for word, _ in words(lesson.text)]
        lesson = answer(random.Random(seed), "specific", marked=False)
        place = Question(
            "specific", "specific", next(k for k, name in enumerate(PLACES) if name in lesson.prompt)
        ).place
        looks = lesson.scene.places[place]
        assert (noun(looks[0]) if looks else "nothing") in lesson.text.lower()


@pytest.mark.slow
def test_mixtures_have_their_shares_of_descriptions_and_marks():
    config = ShapesConfig(items=400, seed=0)
    plain = [make_caption("captions", config, index, mixture=CAPTIONS)[0] for index in range(200)]
    answers = [make_caption("captions", config, index, mixture=ANSWERS)[0] for index in range(100)]
    mixed = [make_caption("captions", config, index, mixture=MARKED)[0] for index in range(400)]
    assert all(line["kind"] != "marked" for line in plain)
    assert 60 < sum(line["kind"] == "caption" for line in plain) < 100
    assert {line["kind"] for line in answers} <= set(KINDS)
    assert 200 < sum(line["kind"] == "marked" for line in mixed) < 280
    assert mixed[:50] == [make_caption("captions", config, index, mixture=MARKED)[0] for index in range(50)]
