"""Equal responses get equal scores and share a rank."""

from __future__ import annotations

import numpy as np
import pytest

from yoj.runtime import Image, Request
from yoj.runtime._judgement import judge_request

SAME = "It is in the bottom right."
RESPONSES = ["You can clearly see it in the bottom left.", SAME, SAME, SAME, "It is in the top right.", SAME]


@pytest.mark.parametrize("mode", ["joint", "isolated"])
def test_equal_responses_tie(mode, scorer):
    judgement = scorer("merged", "assistant").score("Where?", RESPONSES, mode=mode)
    scores = [judgement.scores[k] for k in (1, 2, 3, 5)]
    assert len({*scores}) == 1
    assert len({judgement.ranks[k] for k in (1, 2, 3, 5)}) == 1
    assert judgement.duplicates == (0, 1, 1, 1, 4, 1)
    assert len({*judgement.scores}) == 3
    assert sum(judgement.probabilities) == pytest.approx(1)
    assert "equal responses were read once and share a score: 2 is the same as 1, 3 is the same as 1, 5 is" in str(
        judgement
    )


def test_the_distinct_responses_are_scored_as_if_the_others_were_not_there(scorer):
    judge = scorer("merged", "assistant")
    distinct = judge.score("Where?", [RESPONSES[0], SAME, RESPONSES[4]])
    shared = judge.score("Where?", RESPONSES)
    assert [shared.scores[k] for k in (0, 1, 4)] == list(distinct.scores)
    assert shared.tokens.row == distinct.tokens.row
    assert shared.tokens.responses[5] == distinct.tokens.responses[1]


def test_every_copy_is_read_where_someone_asks(scorer):
    judgement = scorer("merged", "assistant").score("Where?", RESPONSES, duplicates="score")
    assert judgement.duplicates == ()
    assert len({judgement.scores[k] for k in (1, 2, 3, 5)}) == 4


def test_isolated_copies_differ_in_rounding_alone(scorer):
    judge = scorer("merged", "assistant")
    every = judge.score("Where?", RESPONSES, mode="isolated", duplicates="score").scores
    np.testing.assert_allclose(judge.score("Where?", RESPONSES, mode="isolated").scores, every, rtol=0, atol=1e-5)


def test_orders_are_those_of_the_distinct_responses(scorer):
    judge = scorer("merged", "assistant")
    judgement = judge.score("Where?", ["a", "b", "a", "a"], orders=4)
    assert judgement.orders == 2
    assert len({judgement.scores[k] for k in (0, 2, 3)}) == 1
    assert judgement.order_spread[0] == judgement.order_spread[2]
    assert judge.score("Where?", ["a", "a"], orders="all").orders == 1
    assert judge.score("Where?", ["a", "a"]).margin == 0


def test_equal_pictures_make_equal_responses_and_other_pictures_do_not(scorer):
    pixels = [np.random.default_rng(k).integers(0, 256, (30, 40, 3), np.uint8) for k in (0, 0, 1)]
    judgement = scorer("merged", "assistant").score("Red?", [["so: ", Image(one)] for one in pixels])
    assert judgement.duplicates == (0, 0, 2)
    assert judgement.scores[0] == judgement.scores[1] != judgement.scores[2]


def test_a_cut_is_reported_for_each_copy(scorer):
    """A row of as many tokens as fit is packed, and not run, for which it would take gigabytes."""
    judge = scorer("merged", "assistant")
    long = "word " * 60_000
    prepared = judge.prepare(Request("Which?", [long, "short", long], overflow="truncate"))
    judgement = judge_request(prepared, {"scores": np.zeros((1, 2), np.float32)}, judge.manifest, "float32")
    assert [cut.response for cut in judgement.cuts] == [0, 2]
    assert judgement.cuts[0].kept == judgement.cuts[1].kept < len(long)


def test_probabilities_of_shared_scores_are_not_called_calibrated(scorer):
    judgement = scorer("merged", "assistant").score("Where?", ["a", "a", "b"])
    assert not judgement.calibrated
    assert judgement.probabilities[0] == judgement.probabilities[1]


def test_responses_that_read_the_same_are_equal_whatever_their_parts(scorer):
    judge = scorer("merged", "assistant")
    assert judge.manifest.layout.text_glue == " "
    for mode in ("joint", "isolated"):
        judgement = judge.score("Where?", ["a b", ["a", "b"], "ab", ["a b"]], mode=mode)
        assert judgement.duplicates == (0, 0, 2, 0)
        assert judgement.scores[0] == judgement.scores[1] == judgement.scores[3] != judgement.scores[2]
    read = judge.score("Where?", ["a b", ["a", "b"]], duplicates="score", mode="isolated")
    np.testing.assert_allclose(read.scores[0], read.scores[1], rtol=0, atol=1e-5)
