"""A server whose judge is replaced is found out; a request that fails has its error in its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quiet import Quiet
from recorded import MERGED
from safetensors.torch import save_file
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.evaluation import EvaluationError
from yoj.evaluation._judges import CheckpointSource, JudgementsOf, open_bundle, open_checkpoint
from yoj.export import ExportConfig, build
from yoj.export.checkpoint.checkpoint import Training
from yoj.export.checkpoint.head import HeadShape
from yoj.runtime import Image, LengthError, Request

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


DIMENSIONS = ("instruction", "quality")


@pytest.fixture(scope="module")
def judge_of_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with two dimensions that needs a picture in every response."""
    folder = tmp_path_factory.mktemp("pictures") / "judge"
    write_qwen(TinyQwen(D=64), folder)
    head = HeadShape("mlp", 64, 16, 1, DIMENSIONS)
    save_file(head.fresh(0.5, 0), folder / "value_head.safetensors")
    settings = {
        "value_head_type": "mlp",
        "value_head_activation": "silu",
        "value_head_hidden_dim": 16,
        "value_head_dimensions": list(DIMENSIONS),
        "value_head_pooling": "min",
        "response_images": "any_size",
    }
    (folder / "reward_model_config.json").write_text(json.dumps(settings), "utf-8")
    return folder


def test_a_judge_of_pictures_in_several_dimensions_is_opened_and_reads_alike(judge_of_pictures, tmp_path):
    bundle, training = tmp_path / "judge.yoj", Training("post_norm")
    build(ExportConfig([judge_of_pictures], None, "assistant", bundle, training=training), Quiet())
    shown = [Image(np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)) for seed in range(4)]
    request = Request([shown[0], "Make it red."], [[one] for one in shown[1:]])
    of_bundle = open_bundle(str(bundle), None, None, None)
    of_checkpoint = open_checkpoint(CheckpointSource([judge_of_pictures], None, "assistant", "float32", training))
    (served,), (read,) = of_bundle.read([request]), of_checkpoint.read([request])
    assert read.scores == pytest.approx(served.scores, abs=2e-5)
    assert np.ptp(read.scores) > 1e-3
