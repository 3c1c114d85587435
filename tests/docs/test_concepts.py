"""The page of concepts has every word that the code has in a table of its own, once."""

from __future__ import annotations

import re
import typing
from collections import Counter
from pathlib import Path

from yoj.runtime import manifest
from yoj.runtime.engines import ENGINES
from yoj.runtime.families import FAMILIES
from yoj.runtime.manifest import AXES
from yoj.runtime.roles import ROLES
from yoj.runtime.schemes import SCHEMES

PAGE = (Path(__file__).parents[2] / "docs" / "concepts.md").read_text("utf-8")
ROWS = [row for row in re.findall(r"^\| ([\w ,-]+) \| (.+?) \|", PAGE, re.M) if row[0] != "word"]
MEANINGS = dict(ROWS)


def test_each_word_is_defined_once():
    assert [word for word, count in Counter(word for word, _ in ROWS).items() if count > 1] == []
    assert len(MEANINGS) > 40


def test_words_in_italics_are_defined():
    for word in re.findall(r"\*([\w -]+)\*", PAGE.split("\n## ", 1)[1]):
        assert any(word.rstrip("s") in words for words in MEANINGS), f"*{word}* has no entry"


def test_names_of_the_code_are_all_listed():
    for word, names in {
        "engine": ENGINES,
        "family": FAMILIES,
        "scheme": SCHEMES,
        "layout": typing.get_args(manifest.LayoutName),
        "role": ROLES,
    }.items():
        named = set(re.findall(r"`([\w.-]+)`", MEANINGS[word]))
        assert set(names) <= named, word


def test_letters_are_those_of_the_code():
    letters = re.findall(
        r"(?:^|, )([A-Z]) ", PAGE.split("## Letters\n")[1].split(". An array")[0].replace("\n", " ").strip()
    )
    assert sorted(letters) == sorted(AXES)
