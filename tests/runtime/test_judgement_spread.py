"""The spread of a Gaussian head in judgements, and none of it with a plain head."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from yoj.runtime import Request, Scorer
from yoj.runtime._jsonl import FileScoring
from yoj.runtime._judgement import judge
from yoj.runtime.bulk import ShardRow
from yoj.runtime.bulk._in_process import score_in_process
from yoj.runtime.codec import Reading
from yoj.runtime.errors import ScoreError

RESPONSES = ["A red ball.", "Two blue squares.", "Nothing."]


@pytest.fixture
def gaussian(bundle, monkeypatch) -> Scorer:
    """A scorer whose engine also states a sigma for each place: 0.5, 1, 1.5, ... and twice that in the second row."""
    scorer = Scorer.load(bundle("merged", "assistant"))
    run = scorer._session.run

    def stating(role, inputs):
        outputs = run(role, inputs)
        if role == "vision":
            return outputs
        rows, n = outputs["scores"].shape
        spread = 0.5 * (1 + np.arange(rows))[:, None] * (1 + np.arange(n))
        return outputs | {"spread": np.where(np.isneginf(outputs["scores"]), 0, spread).astype(np.float32)}

    monkeypatch.setattr(scorer._session, "run", stating)
    return scorer


def test_a_judgement_states_the_spread_and_calls_it_uncalibrated():
    judgement = judge(np.array([1, 3], np.float32), 1.0, False, sigma=(0.25, 12.5))
    head, first, second, *rest = judgement.table(["one", "two"]).splitlines()
    assert head.split() == ["rank", "response", "score", "sigma", "P(best)"]
    assert first.split() == ["1", "1", "3.0000", "12.5000", "0.881", "two"]
    assert second.split() == ["2", "0", "1.0000", "0.2500", "0.119", "one"]
    assert head.index("sigma") + len("sigma") == first.index("12.5000") + len("12.5000")
    assert "sigma is the standard deviation of each score as the model states it, uncalibrated" in rest
    assert judgement.to_dict()["spread"] == (0.25, 12.5)


def test_a_plain_head_has_no_spread(bundle):
    path = bundle("merged", "assistant")
    judge = Scorer.load(path)
    assert judge.manifest.value_head.outputs == 1
    assert "outputs" not in json.loads((path / "manifest.json").read_bytes())["value_head"]
    for role in ("scorer.joint", "scorer.segmented"):
        assert [spec.name for spec in judge.engine.graphs[role].outputs] == ["scores"]
    judgement = judge.score("Why?", RESPONSES, orders=2)
    assert judgement.sigma is None
    assert "uncalibrated" not in str(judgement)
    assert "spread" not in (path / "README.md").read_text("utf-8")


def test_each_request_of_a_batch_has_its_own(gaussian):
    first, second = gaussian.score_batch([Request("Why?", RESPONSES), Request("How?", RESPONSES[:2])])
    spreads = {first.sigma, second.sigma}
    assert spreads in ({(0.5, 1.0, 1.5), (1.0, 2.0)}, {(1.0, 2.0, 3.0), (0.5, 1.0)})


def test_with_several_orders_it_is_the_mean_over_them(gaussian):
    # The second order is 1, 2, 0: its places state 1, 2, 3.
    judgement = gaussian.score("Why?", RESPONSES, orders=2)
    assert judgement.sigma == ((0.5 + 3) / 2, (1 + 1) / 2, (1.5 + 2) / 2)
    assert judgement.order_spread is not None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_spread_that_is_no_number_is_an_error(value, gaussian, monkeypatch):
    run = gaussian._session.run

    def broken(role, inputs):
        outputs = run(role, inputs)
        outputs["spread"][0, 1] = value
        return outputs

    monkeypatch.setattr(gaussian._session, "run", broken)
    with pytest.raises(ScoreError, match=r"returned scores \[\[.*, spread \[\[0\.5, (nan|inf), 1\.5"):
        gaussian.score("Why?", RESPONSES)


def test_it_stands_in_the_lines_of_results(gaussian):
    row = ShardRow(1, "", json.dumps({"prompt": "Why?", "responses": RESPONSES}).encode())
    (result,) = score_in_process(gaussian, [row], FileScoring(Reading()))
    assert msgspec.json.decode(result.text)["spread"] == [0.5, 1.0, 1.5]
