"""The table of layouts in the docs is that of the code."""

from __future__ import annotations

import re
from pathlib import Path

from yoj.export.checkpoint._trained_layouts import LAYOUTS

PAGE = (Path(__file__).parents[2] / "docs" / "trained-layouts.md").read_text("utf-8")


def test_the_table_is_that_of_the_code():
    rows = [
        [cell.strip() for cell in row.split("|")] for row in re.findall(r"^\| (`\w+` \|.*) \|$", PAGE, re.MULTILINE)
    ]
    rows = [row for row in rows if len(row) == 6]
    assert [row[0].strip("`") for row in rows] == [layout.name for layout in LAYOUTS]
    for layout, (_, written_by, head, hidden_state, scored, divided_by) in zip(LAYOUTS, rows, strict=True):
        assert written_by == layout.written_by
        assert hidden_state == (layout.hidden_state or "asked for Qwen3-VL")
        assert scored == layout.scored
        assert divided_by == ("1" if layout.single else "sqrt(D)")
        if layout.tensors:
            assert tuple(re.findall(r"`(.+?)`", head)) == layout.tensors
