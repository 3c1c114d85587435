"""Texts of strangers as markup, in which nothing of theirs is."""

from __future__ import annotations

from html import escape

SHOWN = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"} | {
    **{code: f"[U+{code:04X}]" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
}
"""Characters that no page may hold, that nobody sees, or that turn the direction of others -> signs of them."""


def quoted(text: object) -> str:
    """Text as it stands in an element or between the quotes of an attribute."""
    return escape(str(text).replace("\r\n", "\n").translate(SHOWN))


def element(tag: str, text: object, kind: str = "") -> str:
    """Element with a text and a class."""
    named = f' class="{kind}"' if kind else ""
    return f"<{tag}{named}>{quoted(text)}</{tag}>"


def paragraph(text: str) -> str:
    """Text of a request, with its lines, in the direction of its script."""
    return f'<p class="text" dir="auto">{quoted(text)}</p>' if text.strip() else ""
