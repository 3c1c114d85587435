"""Best-of-N filtering keeps what the scorer's margins say, and its answers are right."""

from __future__ import annotations

import json
import re

import pytest
from run_examples import run_example

from examples.best_of_n import ANSWERS, ITEMS, MARGIN, SHARDS
from experiments.shapes import ShapesConfig, make_item
from yoj.runtime import Image, Request, Scorer, Video

pytestmark = [pytest.mark.slow, pytest.mark.export]


def test_what_is_kept_is_sure_and_right(judge, tmp_path):
    said = run_example("best_of_n", judge, tmp_path)
    kept = {
        (number, row["line"] - 1): row
        for number in range(SHARDS)
        for row in map(json.loads, (tmp_path / "kept" / f"part-{number}.jsonl").open())
    }
    assert f"kept {len(kept)} of {SHARDS * ITEMS} questions" in said
    right = float(re.search(r"right in ([\d.]+)%", said)[1])
    assert right >= 97
    with Scorer.load(judge) as scorer:
        for index in range(20):
            item = make_item("part-1", ShapesConfig(ITEMS, 1, ANSWERS), index)
            fields = item.fields()
            medium = Image(item.frames[0]) if len(item.frames) == 1 else Video(item.frames)
            (judgement,) = scorer.score_batch([Request([medium, fields["prompt"]], fields["responses"])])
            assert ((1, index) in kept) == (judgement.margin >= MARGIN)
            if (1, index) in kept:
                assert kept[1, index]["index"] == judgement.best
