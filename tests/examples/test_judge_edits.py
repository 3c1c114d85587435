"""The example ranks edits in files, and says why."""

from __future__ import annotations

import pytest
from PIL import Image as Picture
from run_examples import run_example

from experiments.edits.dataset import make_item

pytestmark = [pytest.mark.slow, pytest.mark.export]


def test_the_right_edit_is_first(edits_judge, tmp_path):
    item = make_item("held_out", 0, 5)
    files = [tmp_path / name for name in ("source.png", "a.png", "b.png", "c.png", "d.png")]
    for file, drawing in zip(files, [item.source, *item.results], strict=True):
        Picture.fromarray(drawing.pixels()).save(file)
    said = run_example("judge_edits", edits_judge, files[0], item.instruction, *files[1:]).splitlines()
    grades = [grade.overall for grade in item.grades()]
    best = files[1 + grades.index(max(grades))].name
    assert said[1].split()[:2] == ["1", str(grades.index(max(grades)))]
    assert said[1].endswith(best)
    words = next(line for line in said if line.startswith(f"why {best} is the best: "))
    assert words.endswith("Right: all. False: nothing. Four and four.")
    assert any(line.startswith("best in instruction: ") for line in said)
    assert any(line.startswith("best in quality: ") for line in said)
