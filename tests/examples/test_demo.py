"""The demo ranks as the truth does, and its pages show what was judged, and why."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from examples.demo import SHOWN, rank_answers, rank_edits, write_pages
from yoj.runtime import Scorer

pytestmark = [pytest.mark.slow, pytest.mark.export]


def test_answers_are_ranked(judge, tmp_path, capsys):
    with Scorer.load(judge) as scorer:
        rank_answers(scorer, tmp_path)
    assert "best by the truth: 'a small yellow triangle'" in capsys.readouterr().out


def test_edits_are_ranked_and_explained(edits_judge, tmp_path, capsys):
    with Scorer.load(edits_judge) as scorer:
        rank_edits(scorer, tmp_path)
    said = capsys.readouterr().out
    assert "best by the truth: 'edit-5-1.png'" in said
    assert "why edit-5-1.png is the best: " in said


def test_each_page_has_what_was_judged(judge, edits_judge, tmp_path):
    scenes, edits = write_pages(Path(judge), Path(edits_judge), tmp_path)
    for page, folder in ((scenes, "scenes"), (edits, "edits")):
        text = page.read_text("utf-8")
        lines = [json.loads(line) for line in (tmp_path / folder / "held_out.jsonl").open(encoding="utf-8")]
        assert len(lines) == SHOWN
        assert all(f'id="line-{number}"' in text for number in range(1, SHOWN + 1))
        assert text.count("data:image/") >= SHOWN
        assert "heat map" in text
        assert not re.search(r"(src|href)=[\"'](?!data:|#)", text)
    assert "Right: all. False: nothing." in edits.read_text("utf-8")
