"""Sentences: every character belongs to one, whatever the script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoj.runtime._sentences import sentences


def split(text: str) -> list[str]:
    return [text[begin:end] for begin, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n ", [" \n "]),
        ("One.", ["One."]),
        ("No end", ["No end"]),
        ("A cat. Two dogs!  And?\n", ["A cat. ", "Two dogs!  ", "And?\n"]),
        ("  Lead. So.", ["  Lead. ", "So."]),
        ("It costs 3.14 euros, e.g. here. Yes.", ["It costs 3.14 euros, e.g. here. ", "Yes."]),
        ("Dr. Smith met J. K. Rowling. Then left.", ["Dr. Smith met J. K. Rowling. ", "Then left."]),
        ('He said "Go." (So.) Then left.', ['He said "Go." ', "(So.) ", "Then left."]),
        ("No. It is not.", ["No. ", "It is not."]),
        ("Well... yes. No… never.", ["Well... yes. ", "No… never."]),
        ("1. First item\n2. Second. More.\n\n- dash", ["1. First item\n", "2. Second. ", "More.\n\n", "- dash"]),
        ("a\r\nb\u2028c", ["a\r\n", "b\u2028", "c"]),
        ("猫がいます。犬も！そう？はい", ["猫がいます。", "犬も！", "そう？", "はい"]),
        ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
        ("यह एक है। दूसरा।", ["यह एक है। ", "दूसरा।"]),
        ("هل هذا؟ نعم.", ["هل هذا؟ ", "نعم."]),
        ("Это кот. Т.е. зверь.", ["Это кот. ", "Т.е. зверь."]),
        ("ይህ ነው። ያ ነው።", ["ይህ ነው። ", "ያ ነው።"]),
    ],
)
def test_a_text_is_split_as_its_script_does(text, expected):
    assert split(text) == expected


@given(st.one_of(st.text(), st.text("ab.!? \n\t\"'1。…", max_size=60)))
def test_every_character_belongs_to_one_sentence(text):
    spans = sentences(text)
    assert "".join(text[begin:end] for begin, end in spans) == text
    assert all(begin < end for begin, end in spans)
    assert len(spans) == 1 or all(text[begin:end].strip() for begin, end in spans)


@pytest.mark.parametrize(
    "text", ["." * 200_000 + "x", "a. " * 60_000, " " * 200_000 + "b", '."' * 60_000, "\n" * 90_000]
)
def test_no_text_takes_quadratic_time(text):
    """In quadratic time each would take hours, which no test has."""
    assert "".join(split(text)) == text
