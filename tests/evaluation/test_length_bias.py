"""Length bias, computed by hand."""

from __future__ import annotations

import pytest
from PIL import Image as Pillow
from tiny_benchmark import scored

from yoj.evaluation._length_bias import CreditShare, length_figures, text_lengths
from yoj.runtime import Image

LONG, SHORT = "a long response", "short"


def one(best: str, other: str, scores: tuple[float, float]):
    return scored([1, 2], ((1, 0), scores), responses=[best, other])


def test_accuracy_by_the_length_of_the_best():
    items = [
        one(LONG, SHORT, (2.0, 1.0)),
        one(LONG, SHORT, (2.0, 1.0)),
        one(SHORT, LONG, (1.0, 2.0)),
        one(SHORT, LONG, (2.0, 1.0)),
        one(SHORT, LONG, (1.0, 2.0)),
        one("other", SHORT, (1.0, 2.0)),  # of equal length
        scored([1, 1], ((0, 1), (1.0, 2.0)), responses=[LONG, SHORT]),
        scored([1, 2], responses=[LONG, SHORT]),
    ]
    found = length_figures(items, "wrong")
    assert (found.items, found.left_out) == (5, 3)
    assert (found.best_longer, found.best_shorter) == (CreditShare(1.0, 2), CreditShare(pytest.approx(1 / 3), 3))
    assert found.best_equal == CreditShare(None, 0)
    assert found.score_correlation == pytest.approx((4 - 1) / 5)  # the longer has the higher score in four
    assert found.rank_correlation == pytest.approx((2 - 3) / 5)


def test_the_others_count_by_their_mean():
    texts = ["12345", "1", "123456789"]
    found = length_figures([scored([1, 2, 3], ((0, 1, 2), (3.0, 2.0, 2.0)), responses=texts)], "wrong")
    assert found.best_equal == CreditShare(1.0, 1)
    assert found.score_correlation == pytest.approx(0.0, abs=1e-12)


def test_responses_with_pictures_have_no_length():
    item = scored([1, 2], responses=["a", [Image(Pillow.new("RGB", (2, 2)))]]).item
    assert text_lengths(item) is None
    assert length_figures([], "wrong").score_correlation is None
