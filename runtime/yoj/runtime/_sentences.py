"""Text -> its sentences, in any script: spans that follow each other and leave nothing out."""

from __future__ import annotations

import re

CLOSING = r"""["'”’»›)\]}」』】〉》*_`]"""
STOPS = ".!?…‽؟۔።፧፨։।॥။៕᠃᠉"
"""Ends of sentences in scripts that put a space behind them."""
WIDE_STOPS = "。！？｡．"
"""Ends of sentences in scripts that put none."""
LINE_ENDS = r"\n\r\v\f\x85\u2028\u2029"
# A run of stops is looked at from its first alone, or long ones would take quadratic time.
END = re.compile(rf"(?:[{WIDE_STOPS}]+{CLOSING}*|(?<![{STOPS}])[{STOPS}]+{CLOSING}*(?=\s))\s*|[{LINE_ENDS}]\s*")
LINE_END = re.compile(f"[{LINE_ENDS}]")
SHORT = frozenset((
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "cf", "fig", "vol", "pp", "eq", "approx", "e.g",
    "i.e", "u.s", "u.k", "a.m", "p.m", "z.b", "d.h", "bzw", "ca", "т.е", "т.д", "т.п", "sra", "sta",
))  # fmt: skip
"""Abbreviations behind which a sentence goes on."""
LAST_WORD = re.compile(r"[^\W_](?:[^\W_]|\.(?=[^\W_]))*\Z")
WORD = 40
"""Characters before a full stop that are looked at."""
MARK_OF_A_LIST = re.compile(r"(?:^|[\n\r])[^\S\n\r]*[(\[]?(?:\d{1,3}|[^\W\d_])\.\Z")


def sentences(text: str) -> list[tuple[int, int]]:
    """Split a text into sentences.

    A sentence ends at the punctuation of its script or where its line ends, so that each item of a list is one. White
    space belongs to the sentence before it, or to the first where none is. Behind a full stop it goes on where the
    next letter is a small one, or the last word is an initial or a usual abbreviation.

    Args:
        text: any text.

    Returns:
        (begin, end) of each, of which the first begins at 0, each other where the one before it ends, and the last
        ends with the text; empty for an empty text.
    """
    ends: list[int] = []
    begin = 0
    for found in END.finditer(text, len(text) - len(text.lstrip())):
        if not _goes_on(text, begin, found):
            ends.append(begin := found.end())
    if begin < len(text):
        ends.append(len(text))
    return list(zip([0, *ends], ends, strict=False))


def _goes_on(text: str, begin: int, found: re.Match[str]) -> bool:
    """Whether what looks like the end of a sentence is in the middle of one."""
    if found[0][0] not in ".…" or LINE_END.search(found[0]):
        return False
    if text[found.end() : found.end() + 1].islower():
        return True
    if found[0].startswith(("..", "…")):
        return False
    before = text[max(begin, found.start() - WORD) : found.start()]
    word = LAST_WORD.search(before)
    last = word[0] if word else ""
    initial = len(last) == 1 and last.isupper() and last != "I"
    return initial or last.lower() in SHORT or MARK_OF_A_LIST.search(f"{before}.") is not None
