"""The shipped judge of edits refuses what it was not trained on, also when it explains, and lets a dimension reward."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from experiments.edits.dataset import make_item
from experiments.edits.loop import request_of
from yoj.integrations import GroupReward, RewardSettings
from yoj.runtime import Image, Request, Scorer, YojError
from yoj.runtime.cli import main

pytestmark = [pytest.mark.export, pytest.mark.slow]

ITEM = make_item("held_out", 0, 1)
SOURCE, EDIT = Image(ITEM.source.pixels()), Image(ITEM.results[0].pixels())
LARGE = Image(np.zeros((128, 128, 3), np.uint8))


def test_a_dimension_can_be_the_reward(scorer: Scorer) -> None:
    request = replace(request_of(ITEM, ITEM.results), id="group")
    for name in ("instruction", "quality"):
        (found,) = GroupReward(scorer, RewardSettings(reward="raw", dimension=name)).rewards([request])
        (asked,) = GroupReward(scorer, RewardSettings(reward="raw")).rewards([replace(request, dimension=name)])
        (pooled,) = GroupReward(scorer, RewardSettings(reward="raw")).rewards([request])
        assert found.rewards == asked.rewards == found.dimensions[name]
        assert found.rewards != pooled.rewards


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request("Which?", ["x", "y"]), "responses[0], responses[1] show no picture"),
        (Request([SOURCE, "Remove it."], [[EDIT], ["text"]]), "responses[1] shows no picture"),
        (Request("Remove it.", [[EDIT]]), "The prompt shows no picture"),
        (
            Request([SOURCE, "Remove it."], [[LARGE]]),
            "responses[0] is 128x128, and the prompt's picture",
        ),
        (
            Request([SOURCE, "Remove it."], [[EDIT]], dimension="beauty"),
            "dimension is 'beauty'; the head",
        ),
    ],
)
def test_what_cannot_be_scored_is_not_explained_either(request_: Request, words: str, scorer: Scorer) -> None:
    for call in (lambda: scorer.score_batch([request_]), lambda: scorer.rationale(request_, 0)):
        with pytest.raises(YojError) as error:
            call()
        assert words in str(error.value)


def test_only_the_response_that_is_explained_must_be_of_the_sources_size(scorer: Scorer) -> None:
    request = Request([SOURCE, ITEM.instruction], [[EDIT], [LARGE]])
    alone = Request([SOURCE, ITEM.instruction], [[EDIT]])
    assert scorer.rationale(request, 0).tokens == scorer.rationale(alone, 0).tokens


def test_one_unknown_dimension_for_all_lines_is_one_error(edits_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text('{"prompt": "Which?", "responses": ["x"]}\n' * 3, "utf-8")
    command = [str(edits_bundle), str(tmp_path / "requests.jsonl"), "--out", str(tmp_path / "scores.jsonl")]
    found = CliRunner().invoke(main, [*command, "--dimension", "beauty"])
    assert found.exit_code == 1
    assert "dimension is 'beauty'; the head of this bundle has instruction, quality" in found.stderr
    assert not (tmp_path / "scores.jsonl").read_bytes()
