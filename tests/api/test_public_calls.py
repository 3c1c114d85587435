"""Calls of the public API as users write them: `make lint` checks their types, and the tests run them.

A wrong call is followed by the error that pyright has to find in it; one that is no error any more is itself an error.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any, assert_type

import pytest

from yoj.bench import Results, read_results
from yoj.export import CheckpointError, CompileJob, ExportConfig, Fidelity, VerifyJob, build, compile_bundle, verify
from yoj.runtime import (
    BundleError,
    Image,
    Judgement,
    Message,
    Policy,
    Prepared,
    Reading,
    Request,
    RequestError,
    Scorer,
    TokenCounts,
    YojError,
    decode_request,
    encode_judgement,
)
from yoj.training import Recipe, RecipeError, read_recipe

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "tests" / "data" / "bundles" / "qwen3_vl-0.1"
PICTURE = ROOT / "tests" / "data" / "bundles" / "media" / "odd_small.png"
CHECKPOINT = ROOT / "tests" / "golden" / "data" / "checkpoint-merged"
PRESET = ROOT / "training" / "yoj" / "training" / "presets" / "qwen3_vl-4b.yaml"
RESULTS = ROOT / "bench" / "results" / "avx2" / "deep.json"


class Told:
    """Steps of an export, as a caller's own progress bar would take them."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str, bytes_to_write: int = 0) -> None:
        self.stages.append(name)

    def advance(self, count: int) -> None:
        assert count >= 0

    def note(self, text: str) -> None:
        assert text


@pytest.mark.slow
def test_scoring() -> None:
    with Scorer.load(BUNDLE, threads=1) as scorer:
        judgement = scorer.score("What is shown?", ["A cat.", "Two dogs."], images=[PICTURE], mode="isolated")
        assert_type(judgement, Judgement)
        assert_type(judgement.scores, tuple[float, ...])
        assert_type(judgement.margin, float | None)
        assert_type(judgement.tokens, TokenCounts | None)
        assert judgement.ranks[judgement.best] == 1

        requests = [Request("Which?", ["one", "two"]), Request([Message("user", [Image(PICTURE), "Which?"])], ["one"])]
        assert_type(scorer.score_batch(requests), list[Judgement])
        either = scorer.score_batch([*requests, Request("Which?", [])], on_error="return")
        assert_type(either, list[Judgement | YojError])
        assert [isinstance(one, YojError) for one in either] == [False, False, True]

        prepared = scorer.prepare(requests[0], orders=2)
        assert_type(prepared, Prepared)
        (again,) = scorer.score_prepared([pickle.loads(pickle.dumps(prepared))])
        assert again.orders == 2


def test_requests_and_judgements_as_json() -> None:
    request = decode_request(b'{"prompt": "Which?", "responses": ["one", "two"], "id": 7}', Reading(Policy()))
    assert_type(request, Request)
    with Scorer.load(BUNDLE, threads=1) as scorer:
        fields = encode_judgement(scorer.score_batch([request])[0])
    assert_type(fields, dict[str, Any])
    assert json.loads(json.dumps(fields))["id"] == 7


def test_export_verification_and_plans_want_their_files(tmp_path: Path) -> None:
    missing, told = tmp_path / "none", Told()
    with pytest.raises(CheckpointError, match="none"):
        assert_type(build(ExportConfig([missing], None, "assistant", tmp_path / "judge.yoj"), told)[1], Fidelity | None)
    assert told.stages == ["read checkpoint"]
    with pytest.raises(BundleError, match="none"):
        assert_type(verify(VerifyJob(missing, [CHECKPOINT]), told), Fidelity)
    with pytest.raises(BundleError, match="none"):
        compile_bundle(CompileJob(missing, "tensorrt"), told)


def test_recipes_and_results() -> None:
    assert_type(read_recipe(PRESET, ["max_steps=3"]), Recipe)
    assert read_recipe(PRESET, ["max_steps=3"]).max_steps == 3
    assert_type(read_results(RESULTS), Results)
    assert read_results(RESULTS).judges


def test_wrong_calls_are_errors_of_type_and_of_value(tmp_path: Path) -> None:
    with Scorer.load(BUNDLE, threads=1) as scorer:
        with pytest.raises(TypeError):
            scorer.score("Which?", ["one"], "joint")  # pyright: ignore[reportCallIssue]
        with pytest.raises(RequestError):
            scorer.score("Which?", ["one"], mode="both")  # pyright: ignore[reportArgumentType]
        with pytest.raises(RequestError):
            scorer.score("Which?", ["one"], orders="some")  # pyright: ignore[reportArgumentType]
        with pytest.raises(RequestError):
            scorer.score_prepared([Request("Which?", ["one"])])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError):
        ExportConfig([CHECKPOINT], None, "assistant")  # pyright: ignore[reportCallIssue]
    with pytest.raises(RecipeError):
        read_recipe(PRESET, ["no_such_setting=1"])
