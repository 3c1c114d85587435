"""Tables of text."""

from __future__ import annotations

from yoj.evaluation._table import TextTable, number


def test_columns_line_up():
    table = TextTable("Title", ("figure", "value"), (("a", "1.0"), ("longer name", "10.25")), ("A note.",))
    assert table.text() == "Title\nfigure       value\na              1.0\nlonger name  10.25\nA note."


def test_numbers_that_are_none_are_dashes():
    assert [number(value) for value in (None, float("nan"), 0.12345, -1.0)] == ["-", "-", "0.1235", "-1.0000"]
