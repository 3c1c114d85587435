"""What vLLM is given: a merged checkpoint that transformers loads, and a head that reads its last hidden state."""

from __future__ import annotations

import sys

import pytest
import torch
from tiny_qwen3_vl import TinyQwen, write_qwen
from transformers import AutoModelForImageTextToText

from yoj.bench._errors import BenchError
from yoj.bench._vllm_peer import Vllm, write_merged
from yoj.calibration._collect import CalibratedModel
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.verification.stock_model import StockModel
from yoj.runtime import Request


def opened(folder, hidden_state):
    checkpoint = Checkpoint.open([write_qwen(TinyQwen(), folder / "checkpoint", hidden_state=hidden_state)])
    return checkpoint, open_family(checkpoint)


@pytest.mark.slow
def test_the_merged_model_and_its_head_score_as_the_reference_does(tmp_path):
    checkpoint, family = opened(tmp_path, "post_norm")
    (tmp_path / "merged").mkdir()
    write_merged(checkpoint, family, tmp_path / "merged")
    preparer = CalibratedModel.open(checkpoint, "assistant").preparer
    prepared = preparer.prepare(Request("What is shown?", ["A small red cat."]), "joint")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    head = torch.load(tmp_path / "merged" / "head.pt", weights_only=False)
    ids = torch.from_numpy(prepared.packs[0].input_ids_L)[None]
    with torch.inference_mode():
        hidden = model.model(input_ids=ids).last_hidden_state[0, -1]
        score = head(hidden)
    assert int(prepared.packs[0].response_end_N[0]) == ids.shape[1] - 1
    assert float(score) == pytest.approx(
        float(StockModel(checkpoint, family).score(prepared, preparer.family)[0]), abs=1e-5
    )


def test_a_head_that_reads_the_states_before_the_norm_is_refused(tmp_path):
    checkpoint, family = opened(tmp_path, "pre_norm")
    with pytest.raises(BenchError, match="after the norm"):
        write_merged(checkpoint, family, tmp_path)


@pytest.mark.slow
def test_an_environment_without_vllm_is_said(tmp_path):
    with pytest.raises(BenchError, match="vLLM ended with status 1"):
        Vllm(sys.executable, tmp_path, [[1, 2]], 1)
