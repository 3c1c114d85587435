"""Prompts and responses with their pictures, as elements of a page that loads nothing."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, cast

from yoj.runtime import Image, Request, Video, YojError
from yoj.runtime.error_texts import shorten
from yoj.runtime.images import ImageRules, load_image
from yoj.runtime.script import Parts, Script, script_of
from yoj.runtime.video import frame_files

SIDE = 320
"""Longest side of a shown picture in pixels."""
FRAMES = 4
"""Most frames of a video that are shown."""
LETTERS = 2000
"""Most characters of a shown text."""
PIXELS = 2**28
"""Pixels of a picture above which it is not shown."""


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
    if isinstance(medium, Image):
        yield _picture(medium.source, name)
        return
    source: Any = medium.source
    if isinstance(source, str | os.PathLike):
        path = Path(cast("str", source))
        if not path.is_dir():
            yield f'<p class="note">{escape(f"{name}: the video {path.name}, which is not shown")}</p>'
            return
        try:
            source = frame_files(path)
        except YojError as error:
            yield _missing(name, error)
            return
    if not isinstance(source, list | tuple):
        yield f'<p class="note">{escape(f"{name}: a video, which is not shown")}</p>'
        return
    frames = cast("list[Any]", list(source))
    step = max(1, len(frames) // FRAMES)
    for place in range(0, len(frames), step)[:FRAMES]:
        yield _picture(frames[place], f"{name}, frame {place + 1} of {len(frames)}")


def _picture(source: Any, name: str) -> str:
    """Picture as a data URL, downscaled."""
    from PIL import Image as Pillow

    try:
        pixels_HWC = load_image(source, ImageRules(PIXELS), name).pixels_HWC
    except YojError as error:
        return _missing(name, error)
    picture = Pillow.fromarray(pixels_HWC)
    picture.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img alt="{escape(name)}" src="data:image/jpeg;base64,{data}">'


def _missing(name: str, error: Exception) -> str:
    return f'<p class="note">{escape(f"{name} cannot be shown: {error}")}</p>'
