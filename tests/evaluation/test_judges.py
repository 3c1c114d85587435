"""A server whose judge is replaced is found out; a request that fails has its error in its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from recorded import MERGED

from yoj.evaluation import EvaluationError
from yoj.evaluation._judges import CheckpointSource, JudgementsOf, open_checkpoint
from yoj.export.checkpoint.checkpoint import Training
from yoj.runtime import LengthError, Request

pytestmark = [pytest.mark.export, pytest.mark.slow]


def test_another_judge_than_at_the_start_stops_the_run(scorer):
    request = Request("Which?", ["One.", "Two."])
    about = scorer().score_batch([request])[0].provenance
    judge = JudgementsOf(scorer(), about)
    (answer,) = judge.read([request])
    assert answer.scores == scorer().score_batch([request])[0].scores
    with pytest.raises(EvaluationError, match="another judge than at the start"):
        replace(judge, about=about | {"manifest_sha256": "0"}).read([request])


def test_a_checkpoint_reads_as_its_bundle_in_both_modes(scorer):
    requests = [
        Request("Which?", ["One.", "Two.", "One."], mode="isolated"),
        Request("Which?", ["word " * 30_000]),
        Request("Which?", ["One.", "Two.", "One."], id="copies"),
        Request("Which is it?", ["Three.", "Two.", "One.", "None of them."]),
    ]
    judge = open_checkpoint(CheckpointSource([Path(MERGED)], None, "assistant", "float32", Training()))
    expected = scorer().score_batch(requests, on_error="return")
    for found, judgement in zip(judge.read(requests), expected, strict=True):
        if isinstance(judgement, LengthError):
            assert type(found) is LengthError
        else:
            assert found.scores == pytest.approx(judgement.scores, abs=2e-5)
            assert found.notices == judgement.notices
