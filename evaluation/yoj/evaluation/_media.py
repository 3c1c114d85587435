"""Files of pictures and videos that items name, and a check that the pictures are some."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from yoj.runtime import Image, Request
from yoj.runtime.error_texts import reason
from yoj.runtime.images import HEAD_BYTES, is_heif
from yoj.runtime.script import script_of
from yoj.runtime.video import frame_files


def media_files(request: Request) -> list[Path]:
    """Files that a request reads: pictures, videos, and the frames of folders and lists.

    Raises:
        MediaError: a folder holds no frames.
        RequestError: the request cannot be one.
    """
    return [one.source for one in _sources(request) if isinstance(one.source, Path)]


class PictureCheck:
    """Check of pictures, each file of which is opened once however many items show it.

    A picture's head is read, and the check sums of a format that has them; its pixels are not decoded, so that one cut
    short may pass. Files of videos are not opened.
    """

    def __init__(self) -> None:
        self._faults: dict[Path, str | None] = {}

    def fault(self, request: Request) -> str | None:
        """Fault of the first picture of a request that is none, as a phrase; None where all are.

        Raises:
            MediaError: a folder holds no frames.
            RequestError: the request cannot be one.
        """
        for one in _sources(request):
            if one.still and (fault := self._fault(one.source)):
                told = one.source if isinstance(one.source, Path) else f"{len(one.source)} bytes"
                return f"{one.name} ({told}) is no picture that can be read: {fault}"
        return None

    def _fault(self, source: Path | bytes) -> str | None:
        if isinstance(source, bytes):
            return _why_unreadable(source)
        if source not in self._faults:
            self._faults[source] = _why_unreadable(source)
        return self._faults[source]


@dataclass(frozen=True)
class _Source:
    """File, or content of one, that a request reads."""

    name: str
    """Name in errors."""
    source: Path | bytes
    still: bool
    """Whether it is a picture; otherwise it is the file of a video."""


def _sources(request: Request) -> Iterator[_Source]:
    """Files and contents that a request reads; arrays and pictures in memory are none."""
    script = script_of(request)
    for name, medium in zip(script.names, script.media, strict=True):
        source: Any = medium.source
        if isinstance(medium, Image):
            yield from _source(name, source, still=True)
            continue
        if isinstance(source, str | os.PathLike):
            folder = Path(cast("str", source))
            source = frame_files(folder) if folder.is_dir() else folder
        if isinstance(source, list | tuple):
            for number, frame in enumerate(cast("list[Any]", source), 1):
                yield from _source(f"{name}, frame {number}", frame, still=True)
        else:
            yield from _source(name, source, still=False)


def _source(name: str, source: Any, still: bool) -> Iterator[_Source]:
    if isinstance(source, str | os.PathLike):
        yield _Source(name, Path(cast("str", source)), still)
    elif isinstance(source, bytes):
        yield _Source(name, source, still)


def _why_unreadable(picture: bytes | Path) -> str | None:
    from PIL import Image as Pillow

    try:
        with io.BytesIO(picture) if isinstance(picture, bytes) else picture.open("rb") as stream:
            # Pillow alone cannot open HEIC; the judge reads it where pillow-heif is installed.
            if is_heif(stream.read(HEAD_BYTES)):
                return None
            stream.seek(0)
            with Pillow.open(stream) as opened:
                opened.verify()
    except Exception as error:  # on damaged files Pillow's readers raise whatever their parsing runs into
        return "its format is not known" if isinstance(error, Pillow.UnidentifiedImageError) else reason(error)
    return None
