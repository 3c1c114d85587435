"""The truth about free answers, by hand and against the grades of the task."""

from __future__ import annotations

import random

import pytest

from experiments.grpo.grader import STILL_KINDS, claims, read, truth
from experiments.shapes import ShapesConfig, make_item
from experiments.shapes.answers import STYLES, Answer, Question, grade
from experiments.shapes.scene import Description, Look, Scene
from experiments.shapes.words import ask, say

RED, BLUE = Look("small", "red", "circle"), Look("large", "blue", "cross")
SCENE = Scene(((RED,), (BLUE, RED), (), (BLUE,)))
WHERE = Question("where", "where", about=Description(None, "red", "circle"))
COUNT = Question("count", "count", about=Description(form="cross"))


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        (Question("identify", "identify", 0), "a small red circle", 1.0),
        (Question("identify", "identify", 0), "There is a small red circle.", 1.0),
        (Question("identify", "identify", 0), "You can clearly see a small red circle in the top left.", 1.0),
        (Question("identify", "identify", 0), "a red circle", 5 / 7),
        (Question("identify", "identify", 0), "a shape", 1 / 7),
        (Question("identify", "identify", 0), "a small red cross", 4 / 7),
        (Question("identify", "identify", 0), "a large blue square", 0.0),
        (Question("front", "front", 1), "a large blue cross", 1.0),
        (Question("front", "front", 1), "a small red circle", 1 / 7),  # there, but behind
        (Question("front", "behind", 1), "a small red circle", 1.0),
        (COUNT, "two crosses", 1.0),
        (COUNT, "There is one cross.", 0.5),
        (COUNT, "no crosses", 0.0),
        (Question("specific", "specific", 2), "nothing", 1.0),
        (Question("specific", "specific", 2), "hard to say", 0.0),
        (Question("specific", "specific", 3), "a large blue cross", 1.0),
        (Question("specific", "specific", 3), "a cross", 0.5),
        (Question("specific", "specific", 3), "a small cross", 0.0),
        (Question("specific", "specific", 3), "You can clearly see a small red circle in the bottom right.", 0.0),
    ],
)
def test_by_hand(question, text, expected):
    assert truth(SCENE, question, text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"), [("in the top left", 1.0), ("in the top right", 0.5), ("It is in the bottom right.", 0.0)]
)
def test_places_by_hand(text, expected):
    scene = Scene(((RED,), (), (), (BLUE,)))
    assert truth(scene, WHERE, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "two",
        "a small red true circle",
        "a small red circle a small red circle",
        "in the top left",
        "A small red circle",
    ],
)
def test_a_text_that_is_no_answer_to_the_question_is_worth_nothing(text):
    question = Question("identify", "identify", 0)
    assert read(question, text) is None
    assert truth(SCENE, question, text) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", STILL_KINDS)
def test_items_of_the_task_are_ordered_as_their_grades(kind):
    """The grades of the task say which answer is better; the truth may tie where both are worth nothing."""
    for index in range(40):
        item = make_item("grader", ShapesConfig(40, 1, kinds=(kind,)), index)
        values = [truth(item.scene, item.question, say(item.question, answer)) for answer in item.answers]
        grades = [grade(item.scene, item.question, answer).quality for answer in item.answers]
        for a, first in zip(values, grades, strict=True):
            for b, second in zip(values, grades, strict=True):
                assert a <= b or first > second, (ask(item.question), values, grades)
        assert all(0 <= value <= 1 for value in values)


@pytest.mark.slow
@pytest.mark.parametrize("kind", STILL_KINDS)
def test_every_answer_is_read_as_what_was_said(kind):
    rng = random.Random(0)
    for index in range(10):
        question = make_item("reader", ShapesConfig(10, 2, kinds=(kind,)), index).question
        for claim in claims(question):
            answer = Answer(claim, rng.choice(STYLES))
            found = read(question, say(question, answer))
            assert found is not None
            assert found.claim == claim
