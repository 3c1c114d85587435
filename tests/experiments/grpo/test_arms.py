"""Rewards of the experiment: what is kept beside them, and the judge of separate passes."""

from __future__ import annotations

import pytest

from experiments.grpo.arms import SeparatePasses, Watched
from experiments.grpo.tasks import draw_items
from yoj.runtime import MediaError, Request, Scorer

ANSWERS = ["A red circle.", "Two large crosses.", "Nothing.", "It is in the top left, as far as one can see."]


def test_separate_passes_score_as_one_isolated_pass(bundle):
    folder = bundle("merged", "assistant")
    request = Request("What is shown?", ANSWERS)
    together = Scorer.load(folder).score_batch([request], mode="isolated")[0]
    (apart,) = SeparatePasses(folder).score_batch([request], on_error="return")
    assert apart.scores == pytest.approx(together.scores, abs=1e-5)


def test_a_response_that_fails_fails_its_group(bundle):
    judge = SeparatePasses(bundle("merged", "assistant"))
    good, bad = Request("Why?", ["So.", "No."]), Request("Why?", ["So.", "No."], images=[b"no picture"])
    found = judge.score_batch([bad, good], on_error="return")
    assert isinstance(found[0], MediaError)
    assert len(found[1].scores) == 2


def completions(texts):
    return [[{"role": "assistant", "content": text}] for text in texts]


def test_the_truth_is_kept_beside_a_reward():
    item = draw_items("arms", 1, 0)[0]
    right = item.fields()["responses"][item.rankings().index(1)]

    def longest(completions, **_):
        return [float(len(one[0]["content"])) for one in completions]

    watched = Watched(longest, [item], 3)
    texts = [right, right + " and no answer", "x"]
    rewards = watched(["?"] * 3, completions(texts), item=[0] * 3, log_metric=lambda *_: None)
    assert rewards == [len(right), len(right) + 14, 1]
    kept = watched.kept
    assert kept["distinct"] == [3]
    assert kept["agreement"] == [0.5]  # of the two pairs with `right`, the reward has one the other way round
    assert kept["truth"][0] > 0
    assert len(kept["seconds"]) == 1


def test_a_reward_that_is_missing_ends_the_run():
    item = draw_items("arms", 1, 0)[0]
    watched = Watched(lambda **_: [None, 1.0], [item], 2)
    with pytest.raises(RuntimeError, match="the judge failed on 1 of 2 answers"):
        watched(["?"] * 2, completions(["a", "b"]), item=[0, 0], log_metric=lambda *_: None)
