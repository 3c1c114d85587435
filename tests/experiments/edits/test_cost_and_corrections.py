"""What the experiments do with the shipped judge: times of three ways to read, rewards, rationales that correct."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.edits import correction, cost
from experiments.edits.base import tokenizer_file
from experiments.edits.correction import by_judge, by_truth, nothing
from experiments.edits.correction import run as correct
from experiments.edits.cost import WAYS, measure
from experiments.edits.dataset import make_item
from experiments.edits.editor import Editor
from experiments.edits.loop import request_of, reward_of
from yoj.runtime import Scorer

pytestmark = [pytest.mark.export, pytest.mark.slow]

ITEMS = [make_item("held_out", 0, index) for index in range(6)]


def test_isolated_edits_are_read_as_in_passes_of_their_own(scorer: Scorer) -> None:
    for item in ITEMS[:3]:
        request = request_of(item, item.results)
        isolated = WAYS["isolated in one pack"](scorer, request)
        assert isolated == pytest.approx(WAYS["N passes"](scorer, request), abs=1e-4)
        joint = WAYS["joint pack"](scorer, request)
        assert np.abs(np.subtract(joint, isolated)).max() > 1e-2


def test_every_way_has_a_time_and_at_four_an_accuracy(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ITEMS": 6, "TIMED": 2, "REPEATS": 1}.items():
        monkeypatch.setattr(cost, name, value)
    four, eight = (measure(scorer, WAYS["joint pack"], n) for n in (4, 8))
    assert four["best_of_4"]["count"] == 6
    assert "best_of_4" not in eight
    assert eight["milliseconds"] > 0


def test_rewards_are_the_scores_of_each_group(scorer: Scorer) -> None:
    rewards = reward_of(scorer)(ITEMS, [item.results for item in ITEMS])
    assert rewards.shape == (6, 4)
    alone = scorer.score_batch([request_of(ITEMS[2], ITEMS[2].results)])[0].scores
    assert rewards[2] == pytest.approx(alone, abs=1e-4)


def test_a_correcting_editor_is_told_what_the_judge_says(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    said = by_judge(scorer)(ITEMS, [item.results[0] for item in ITEMS])
    assert all(text.endswith(".") for text in said)
    monkeypatch.setattr(correction, "EVALUATED", 8)
    ways = {"nothing": nothing, "the judge": by_judge(scorer), "the truth": by_truth}
    found = correct(Editor(tokenizer_file(), 0), ways, 0, 1, lambda _: None)
    assert set(found) == {f"{name}, below {limit}" for name in ways for limit in correction.BELOW}
    assert found["nothing, below 8"]["before"] == found["the truth, below 8"]["before"]
