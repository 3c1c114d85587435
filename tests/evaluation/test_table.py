"""Tables of text."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_benchmark import TINY, rows, write_rows

from yoj.evaluation._benchmark_run import RunSettings, read_items
from yoj.evaluation._predictions import PassLine, Prediction
from yoj.evaluation._results import RunResults, results_of
from yoj.evaluation._table import TextTable, figure_table, number, summary


def test_columns_line_up():
    table = TextTable("Title", ("figure", "value"), (("a", "1.0"), ("longer name", "10.25")), ("A note.",))
    assert table.text() == "Title\nfigure       value\na              1.0\nlonger name  10.25\nA note."


def test_numbers_that_are_none_are_dashes():
    assert [number(value) for value in (None, float("nan"), 0.12345, -1.0)] == ["-", "-", "0.1235", "-1.0000"]


def results(folder, frames) -> RunResults:
    """Results of one item for each number of frames, given and read."""
    settings = RunSettings()
    sheet = read_items(TINY, write_rows(folder / "tiny.jsonl", rows(len(frames))), settings)
    predictions = [
        Prediction(
            key=item.key,
            id=item.id,
            group=item.group,
            category=item.category,
            ranks=item.ranks,
            passes=(PassLine(tuple(range(len(item.ranks))), tuple(-rank for rank in item.ranks)),),
            error=None,
            temperature=1.0,
            calibrated=False,
            notices=("something",),
            milliseconds=1.0,
            frames=given_read,
            native={},
        )
        for item, given_read in zip(sheet.items, frames, strict=True)
    ]
    return results_of(TINY, sheet, predictions, settings, "wrong")


def test_items_whose_frames_were_not_all_read_are_counted(tmp_path):
    found = results(tmp_path, [(32, 16), (32, 16), (16, 16), None, (900, 16)])
    assert (found.fewer_frames, found.frames) == (3, {"16 of 32": 2, "16 of 900": 1})
    (note,) = [note for note in figure_table(found).notes if "frames" in note]
    assert note.startswith("Of 3 items the judge read fewer frames than it was given, ")
    assert note.endswith(": 2 items: 16 of 32 frames read; 1 item: 16 of 900 frames read.")


@pytest.mark.parametrize("frames", [None, (16, 16)])
def test_one_item_is_told_as_one(frames, tmp_path):
    text = summary(results(tmp_path, [frames]))
    assert "1 item has notices" in text
    assert "Orders: 1 item in 1;" in text
    assert "1 items" not in text
    assert "frames" not in text


@pytest.mark.parametrize(
    ("official", "told"),
    [
        ("wrong", "as in the official script"),
        ("share", "the official script counts them as: share"),
        (None, "the benchmark publishes no rule for them"),
    ],
)
def test_the_rule_for_ties_is_told_beside_the_official_one(official, told, tmp_path):
    found = replace(results(tmp_path, [None]), official_ties=official)
    assert figure_table(found).notes[0] == f"Equal highest scores count as: wrong ({told})."
