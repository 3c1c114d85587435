"""Items of the study: nested sets, the best answer at every place, ranks by the scene."""

from __future__ import annotations

import functools

from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.any_n.data import SIZES, Pack, draw_item, draw_items
from experiments.shapes.answers import Answer, grade
from experiments.shapes.words import say

COUNT = 64


@functools.cache
def item(index: int):
    return draw_item(index, COUNT, 22)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, COUNT - 1))
def test_a_set_is_within_the_next_and_has_one_best_answer(index):
    before: set[Answer] = set()
    for n in SIZES:
        pack = item(index).pack(n)
        ranks = item(index).ranks(pack.answers)
        assert len(set(pack.answers)) == n
        assert before < set(pack.answers)
        assert pack.gold == index % n
        assert ranks.count(1) == 1
        assert ranks[pack.gold] == 1
        assert (pack.answers[pack.gold], pack.answers[pack.rival]) == item(index).answers[:2]
        before = set(pack.answers)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, COUNT - 1))
def test_half_of_the_answers_leave_one_attribute_out(index):
    one = item(index)
    assert sorted(answer.claim.look.named() for answer in one.answers) == [2] * 32 + [3] * 32
    gold, rival = (answer.claim.look for answer in one.answers[:2])
    assert sum(a != b for a, b in zip(gold, rival, strict=True)) == 1
    # Three attributes that are true: 2 each and 1 for an answer that is right.
    assert grade(one.shapes.scene, one.shapes.question, one.answers[0]) == (7, "right")
    # Each of the three attributes may be left out.
    assert [one.label(answer) for answer in one.answers].count("right") == 4
    assert len({say(one.shapes.question, answer) for answer in one.answers}) == 64


def test_kinds_take_turns_and_draws_repeat():
    items = draw_items(6)
    assert [one.shapes.question.kind for one in items] == ["identify", "front", "moves"] * 2
    assert [one.answers for one in items] == [one.answers for one in draw_items(6)]
    assert items[0].shapes.scene != items[3].shapes.scene
    assert [one.answers for one in draw_items(3, seed=23)] != [one.answers for one in items[:3]]


def test_others_stand_in_another_order_for_another_n():
    small, large = item(0).pack(32), item(0).pack(64)
    assert [answer for answer in large.answers if answer in small.answers] != list(small.answers)


def test_a_turn_moves_every_answer_along():
    a, b, c, d = item(0).answers[:4]
    assert Pack((a, b, c, d), 0, 3).turned(1) == Pack((b, c, d, a), 3, 2)
    assert Pack((a, b, c, d), 0, 3).turned(4) == Pack((a, b, c, d), 0, 3)


def test_requests_show_what_the_question_is_about():
    still, moving = item(0), item(2)
    answers = still.answers[:3]
    request = still.request(answers)
    assert request.responses == [say(still.shapes.question, answer) for answer in answers]
    assert len(request.images) == 1
    assert request.video is None
    request = moving.request(moving.answers)
    assert request.prompt == "What moves?"
    assert not request.images
    assert len(request.video) == moving.shapes.scene.frames
    assert request.fps == 1
