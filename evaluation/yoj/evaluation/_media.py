"""Files of pictures and videos that items name, and a check that the pictures are some."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
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
    sources = [source for _, source, _ in _sources(request)]
    return [Path(source) for source in sources if isinstance(source, str | os.PathLike)]


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
        for name, source, still in _sources(request):
            if not still:
                continue
            if isinstance(source, bytes):
                if fault := _fault(source):
                    return f"{name} ({len(source)} bytes) {fault}"
            elif isinstance(source, str | os.PathLike):
                path = Path(source)
                if path not in self._faults:
                    self._faults[path] = _fault(path)
                if fault := self._faults[path]:
                    return f"{name} ({path}) {fault}"
        return None


def _sources(request: Request) -> Iterator[tuple[str, Any, bool]]:
    """Name and source of each file or content that a request reads, and whether it is a picture."""
    script = script_of(request)
    for name, medium in zip(script.names, script.media, strict=True):
        source: Any = medium.source
        if isinstance(medium, Image):
            yield name, source, True
            continue
        if isinstance(source, str | os.PathLike):
            folder = Path(cast("str", source))
            if not folder.is_dir():
                yield name, source, False
                continue
            source = frame_files(folder)
        if isinstance(source, list | tuple):
            yield from (
                (f"{name}, frame {number}", frame, True) for number, frame in enumerate(cast("list[Any]", source), 1)
            )
        else:
            yield name, source, False


def _fault(picture: bytes | Path) -> str | None:
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
        told = "its format is not known" if isinstance(error, Pillow.UnidentifiedImageError) else reason(error)
        return f"is no picture that can be read: {told}"
    return None
