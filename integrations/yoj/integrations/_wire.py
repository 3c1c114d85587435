"""Requests as the body of one HTTP call: a form with their JSON, and each medium once."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from yoj.runtime import Image, MediaError, Request, Video
from yoj.runtime.images import content_of
from yoj.runtime.script import Parts, Script, script_of
from yoj.runtime.video import frame_files

from ._kinds import is_array, is_list

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""Modes of Pillow's images that a PNG file holds without a change."""


class RequestForm:
    """Form for one call: requests, and the files that they name."""

    def __init__(self):
        self._lines: list[dict[str, Any]] = []
        self._files: dict[str, bytes] = {}

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(map(len, self._files.values()))

    def add(self, request: Request) -> None:
        """Add a request.

        Raises:
            RequestError: it is no request that can be scored; see `yoj.runtime.script.script_of`.
            MediaError: a medium cannot be read.
        """
        script = script_of(request)
        self._lines.append(
            {
                "prompt": self._prompt(script),
                "responses": [self._content(parts, script) for parts in script.responses],
                "mode": request.mode,
                "orders": request.orders,
                "overflow": request.overflow,
                "duplicates": request.duplicates,
                # `media` has been followed: what it marked are parts now.
                "placeholders": "text" if request.placeholders == "text" else "error",
                "method": request.method,
                "passes": request.passes,
                "dimension": request.dimension,
                "id": request.id,
            }
        )

    def encode(self) -> tuple[bytes, str]:
        """Body, and its content type."""
        boundary = secrets.token_hex(16)
        parts = [("request", "", msgspec.json.encode({"requests": self._lines}))]
        parts += [(name, f'; filename="{name}"', content) for name, content in self._files.items()]
        body = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode()
            + content
            + b"\r\n"
            for name, filename, content in parts
        )
        return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"

    def _prompt(self, script: Script) -> Any:
        if len(script.turns) == 1:
            return self._content(script.turns[0].parts, script)
        return [{"role": turn.role, "content": self._content(turn.parts, script)} for turn in script.turns]

    def _content(self, parts: Parts, script: Script) -> Any:
        if len(parts) == 1 and isinstance(parts[0], str):
            return parts[0]
        return [
            {"type": "text", "text": part} if isinstance(part, str) else self._medium(script, part) for part in parts
        ]

    def _medium(self, script: Script, number: int) -> dict[str, Any]:
        medium, name = script.media[number], script.names[number]
        if isinstance(medium, Image):
            return {"type": "image", "image": self._file(image_bytes(medium.source, name))}
        part: dict[str, Any] = {"type": "video", "video": self._video(medium, name)}
        if medium.fps is not None:
            part["fps"] = medium.fps
        if medium.timestamps is not None:
            part["timestamps"] = [float(time) for time in medium.timestamps]
        return part

    def _video(self, video: Video, name: str) -> Any:
        source: Any = video.source
        if is_array(source) or is_list(source):
            return [self._file(image_bytes(one, f"{name}, frame {k}")) for k, one in enumerate(source)]
        if isinstance(source, str | os.PathLike) and (folder := Path(cast("str", source))).is_dir():
            return [self._file(image_bytes(one, name)) for one in frame_files(folder)]
        return self._file(_file_bytes(source, name))

    def _file(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()[:32]
        self._files[name] = content
        return f"cid:{name}"


def image_bytes(source: Any, name: str) -> bytes:
    """Bytes of a file with the same pixels as an image: files as they are, arrays and images of Pillow's as PNG.

    Args:
        source: image as `yoj.runtime.Image` takes it.
        name: name of the image in errors.

    Raises:
        MediaError: it cannot be read, is animated, or of a mode that no PNG file holds.
    """
    from PIL import Image as Pillow

    if is_array(source):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
            raise MediaError(f"{name} is an array of {source.dtype} {list(source.shape)}; give uint8 [H, W, 3], RGB.")
        source = Pillow.fromarray(source)
    if not isinstance(source, Pillow.Image):
        return _file_bytes(source, name)
    if getattr(source, "n_frames", 1) > 1 and source.format != "MPO":
        raise MediaError(f"{name} is animated; choose one frame and pass that.")
    if source.mode not in PNG_MODES:
        raise MediaError(f"{name} is an image of the mode {source.mode}, which no PNG file holds; convert it to RGB.")
    file = io.BytesIO()
    exif = source.getexif()
    # The orientation stands in its EXIF. Little is won by packing pixels well for a server that is near.
    source.save(file, "PNG", compress_level=1, **({"exif": exif.tobytes()} if exif else {}))
    return file.getvalue()


def _file_bytes(source: Any, name: str) -> bytes:
    if isinstance(source, str | os.PathLike):
        try:
            return Path(cast("str", source)).read_bytes()
        except (OSError, ValueError) as error:
            raise MediaError(f"{name}: {source} cannot be read: {error}. Give the path of a file.") from error
    content = content_of(source, name)
    if content is None:
        raise MediaError(f"{name} is a {type(source).__name__}; give a path, bytes, or an open binary file.")
    return content
