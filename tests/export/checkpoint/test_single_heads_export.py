"""A single-response reward model from the command to the runtime's scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from single_response import PROMPT, RESPONSES, SEQUENCE, D, chat_ids, load, write_base

from yoj.export.cli import main
from yoj.runtime import RequestError, Scorer

pytestmark = [pytest.mark.export, pytest.mark.parity]

CLOSE = 1e-5 * D**0.5


def test_the_command_exports_it_and_the_runtime_scores_it(tmp_path):
    """With the export's own comparison; without a separator joint reading takes one response only."""
    family = "qwen3_vl"
    folder = write_base(family, tmp_path / "trained")
    model = load(SEQUENCE[family], family, folder)
    torch.manual_seed(1)
    model.score.weight.data.normal_()
    model.save_pretrained(folder)
    out = tmp_path / "judge.yoj"
    result = CliRunner().invoke(main, [str(folder), "--layout", "assistant", "--mode", "isolated", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "sequence_classification" in result.output
    assert "--video-expansion flat is assumed, as the processor's files are those of transformers 4" in result.output
    expected = [model(chat_ids(folder, response)).logits.item() for response in RESPONSES]
    scorer = Scorer.load(out)
    assert (scorer.manifest.value_head.divisor, scorer.manifest.layout.separator) == (1.0, None)
    judgement = scorer.score(PROMPT, RESPONSES)
    np.testing.assert_allclose(judgement.scores, expected, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(judgement.probabilities, torch.tensor(expected).softmax(0), atol=1e-5)
    assert scorer.score(PROMPT, RESPONSES[:1], mode="joint").scores[0] == pytest.approx(expected[0], abs=CLOSE)
    with pytest.raises(RequestError, match="mode='isolated'"):
        scorer.score(PROMPT, RESPONSES, mode="joint")
    result = CliRunner().invoke(main, ["verify", str(out), "--against", str(folder)])
    assert result.exit_code == 0, result.output
    assert "separator      none" in CliRunner().invoke(main, ["inspect", str(out)]).output
