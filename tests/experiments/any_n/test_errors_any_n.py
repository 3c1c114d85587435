"""Probes on judges that err in a known way, and on a real one."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from experiments.any_n.data import draw_items
from experiments.any_n.errors import PROBES, duplicates, false_fluent, fluency, length, position
from experiments.any_n.judges import Judge
from yoj.runtime import Request

ITEMS = draw_items(6)


class Rule:
    """Judge whose scores follow from the texts and their places."""

    def __init__(self, rule: Callable[[Sequence[str]], Sequence[float]]):
        self._rule = rule

    def scores(self, requests: Sequence[Request]) -> list[np.ndarray]:
        """Scores by the rule."""
        return [np.array(self._rule(request.responses), np.float64) for request in requests]


FIRST = Rule(lambda texts: [-place for place in range(len(texts))])
LONGEST = Rule(lambda texts: [len(text) for text in texts])
BY_TEXT = Rule(lambda texts: [zlib.crc32(text.encode()) for text in texts])


@pytest.mark.slow
def test_a_judge_that_prefers_the_first_place_is_found_out():
    found = position(FIRST, ITEMS, 4)
    assert [one["value"] for one in found["accuracy_by_place"]] == [1, 0, 0, 0]
    assert found["widest_gap"]["value"] == 1
    assert found["wins_by_place"] == [24, 0, 0, 0]
    # Expected 6 at each place: (18**2 + 3 * 6**2) / 6
    assert found["chi_square"] == pytest.approx(72)
    assert found["p"] < 1e-10


@pytest.mark.slow
def test_a_judge_of_texts_alone_minds_no_place():
    found = position(BY_TEXT, ITEMS, 4)
    assert found["wins_by_place"] == [6, 6, 6, 6]
    assert found["p"] == 1
    assert found["widest_gap"]["value"] == 0


def test_copies_differ_by_their_places_alone():
    found = duplicates(BY_TEXT, ITEMS, 8)
    assert [found[name]["value"] for name in ("difference", "earlier_higher", "winner_changes")] == [0, 0.5, 0]
    found = duplicates(FIRST, ITEMS, 8)
    assert found["difference"]["value"] >= 1
    assert found["earlier_higher"]["value"] == 1
    # The winner, first of 7, is second where the copy is put before it.
    assert found["winner_changes"]["value"] in [k / 6 for k in range(7)]


def test_a_judge_of_lengths_is_found_out():
    found = length(LONGEST, ITEMS, 4)
    assert found["wins"]["fluent"]["value"] + found["wins"]["another"]["value"] == 1
    assert found["wins"]["terse"]["value"] == 0
    assert found["longest_less_shortest"]["value"] > 15
    assert sum(one["value"] for one in found["centred"].values()) == pytest.approx(0)
    found = fluency(LONGEST, ITEMS, 4)
    assert (found["terse_among_fluent"]["value"], found["fluent_among_terse"]["value"]) == (0, 1)
    assert found["difference"] == {"value": 1, "low": 1, "high": 1, "count": 6}
    assert (found["above_rival_terse"]["value"], found["above_rival_fluent"]["value"]) == (0, 1)


def test_false_fluent_texts_are_counted_against_better_ones():
    found = false_fluent(LONGEST, ITEMS, 8)
    assert found["fluent above partly right"]["value"] == 1
    assert found["terse above partly right"]["value"] < 1
    assert found["fluent above partly right"]["count"] == found["terse above partly right"]["count"] > 0
    # "You can clearly see" is longer than "hard to say".
    assert found["fluent above empty talk"]["value"] == 1


@pytest.mark.export
@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
def test_a_real_judge_is_probed(bundle, name):
    probe, sizes = PROBES[name]
    judge = Judge(bundle("qwen3_vl", "assistant"))
    assert sizes[-1] == 16
    assert probe(judge, ITEMS[:4], 4)["items"] == 4
