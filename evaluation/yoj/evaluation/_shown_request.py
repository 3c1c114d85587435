"""Prompts and responses with their pictures, as elements of a page that loads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from yoj.runtime import Image, Request, Video, YojError
from yoj.runtime.error_texts import shorten
from yoj.runtime.script import Parts, Script, script_of
from yoj.runtime.thumbnails import Missing, thumbnails

SIDE = 320
"""Longest side of a shown picture in pixels."""
LETTERS = 2000
"""Most characters of a shown text."""


def shown_request(request: Request) -> tuple[str, list[str]]:
    """Elements of the prompt, and of each response [N]. What cannot be shown is said in its place."""
    try:
        script = script_of(request)
    except YojError as error:
        return f"<p>{escape(f'The request cannot be shown: {error}')}</p>", ["" for _ in request.responses]
    turns = [
        (f"<p><b>{turn.role}</b></p>" if len(script.turns) > 1 else "") + _parts(turn.parts, script)
        for turn in script.turns
    ]
    return "\n".join(turns), [_parts(parts, script) for parts in script.responses]


def _parts(parts: Parts, script: Script) -> str:
    return "".join(
        f'<p class="text">{escape(shorten(part, LETTERS))}</p>'
        if isinstance(part, str)
        else "".join(_medium(script.media[part], script.names[part]))
        for part in parts
    )


def _medium(medium: Image | Video, name: str) -> Iterator[str]:
    for one in thumbnails(medium, name, SIDE):
        if isinstance(one, Missing):
            yield f'<p class="note">{escape(one.text)}</p>'
        else:
            yield f'<img alt="{escape(one.name)}" src="{one.url}">'
