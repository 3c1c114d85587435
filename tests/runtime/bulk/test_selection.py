"""Best responses, the first k, and margins, against sorting by hand."""

from __future__ import annotations

import pytest

from yoj.runtime.bulk._selection import RowSelection

RESPONSES = ["a", "b", "c", "d"]


def result(*scores: float, **more: object) -> dict:
    return {"line": 7, "request": "x", "run": "r", "id": 3, "scores": list(scores), "best": 0, **more}


def test_the_best_response_with_its_place_score_and_margin():
    found = RowSelection(best=True).of(result(0.5, 2.0, 1.25), RESPONSES[:3])
    assert found == {
        "line": 7, "request": "x", "run": "r", "id": 3, "response": "b", "index": 1, "score": 2.0, "margin": 0.75
    }  # fmt: skip


def test_of_equal_scores_the_first_is_best_and_the_margin_is_zero():
    found = RowSelection(best=True).of(result(1.0, 2.0, 2.0), RESPONSES[:3])
    assert found is not None
    assert (found["index"], found["margin"]) == (1, 0.0)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 9])
def test_the_first_k(k):
    scores = [0.1, 0.4, -3.0, 0.3]
    found = RowSelection(top=k).of(result(*scores), RESPONSES)
    order = sorted(range(4), key=lambda index: -scores[index])[:k]
    assert found is not None
    assert found["top_indices"] == order
    assert found["top_responses"] == [RESPONSES[index] for index in order]
    assert found["top_scores"] == [scores[index] for index in order]


def test_equal_responses_count_as_one():
    shared = result(1.0, 3.0, 3.0, 0.5, duplicates=[0, 1, 1, 3])
    best, top = RowSelection(best=True), RowSelection(top=3)
    assert (best.of(shared, RESPONSES) or {})["margin"] == 2.0
    assert (top.of(shared, RESPONSES) or {})["top_indices"] == [1, 0, 3]


@pytest.mark.parametrize(("least", "there"), [(0.0, True), (0.75, True), (0.76, False)])
def test_rows_below_the_least_margin_are_left_out(least, there):
    assert (RowSelection(min_margin=least).of(result(0.5, 2.0, 1.25), None) is not None) is there


def test_a_row_whose_responses_are_one_has_no_margin_and_is_left_out():
    for alone in (result(2.0), result(2.0, 2.0, duplicates=[0, 0])):
        assert RowSelection(min_margin=0.0).of(alone, None) is None
        assert (RowSelection(best=True).of(alone, RESPONSES[:2]) or {})["margin"] is None


def test_a_failed_row_stays_unless_margins_are_asked_for():
    failed = {"line": 7, "request": "x", "run": "r", "error": {"type": "T", "message": "m"}}
    assert RowSelection(best=True).of(failed, None) == failed
    assert RowSelection(top=2).of(failed, None) == failed
    assert RowSelection(best=True, min_margin=0.0).of(failed, None) is None


def test_without_a_choice_results_stay_as_they_are():
    assert RowSelection().of(result(1.0, 2.0), None) == result(1.0, 2.0)


def test_the_winner_of_a_knockout_has_no_score():
    won = {"line": 1, "request": "x", "run": "r", "best": 2, "won": [0, 0, 2]}
    found = RowSelection(best=True).of(won, RESPONSES)
    assert found is not None
    assert (found["response"], found["index"], found["score"], found["margin"]) == ("c", 2, None, None)
