"""Identity of a request, whatever its files are called: hashes of its texts and of the bytes of its media."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from yoj.runtime import Request
from yoj.runtime.script import Script, script_of
from yoj.runtime.video import frame_files

Medium: TypeAlias = Literal["none", "image", "images", "video"]


def medium_of(request: Request) -> Medium:
    """Kind of media that a request shows, in prompt or responses; a video beside images counts as video.

    Raises:
        RequestError: the request is malformed, as for `content_hash`.
    """
    script = script_of(request)
    return "video" if script.videos else ("none", "image", "images")[min(len(script.media), 2)]


def text_hash(request: Request) -> str:
    """SHA-256 of the texts of prompt and responses, in hexadecimal; the order of the responses does not count.

    Raises:
        RequestError: the request is malformed, as for `content_hash`.
    """
    return _text_hash(script_of(request))


def content_hash(request: Request) -> str:
    """SHA-256 of prompt, responses and the bytes of images and video, in hexadecimal.

    Equal for the same request under other file names, with other rankings, with its responses in another order, or with
    media as parts before the text instead of beside it. A folder of frames and the list of the same frames are equal.

    Raises:
        OSError: a file cannot be read.
        MediaError: a folder has no frames.
        RequestError: the request is malformed; see `script_of`.
    """
    script = script_of(request)
    videos = [_frames(script.media[k].source) if k in script.videos else None for k in range(len(script.media))]
    shown = [
        [_digest(_medium_bytes(one)).encode() for one in ([medium.source] if frames is None else frames)]
        for medium, frames in zip(script.media, videos, strict=True)
    ]
    of_prompt = [number for number, owner in enumerate(script.owners) if owner == 0]
    images = [shown[number][0] for number in of_prompt if number not in script.videos]
    films = [shown[number] for number in of_prompt if number in script.videos]
    video = films[0] if len(films) == 1 else [_digest(film).encode() for film in films]
    parts = [_text_hash(script).encode(), _digest(images).encode(), _digest(video).encode()]
    if len(of_prompt) < len(script.media):
        answers = [
            [_written(answer, script), *(_digest(shown[part]).encode() for part in answer if isinstance(part, int))]
            for answer in script.responses
        ]
        parts += sorted(_digest(answer).encode() for answer in answers)
    return _digest(parts)


def request_text(request: Request) -> str:
    """Texts of a request's prompt."""
    return " ".join(part for turn in script_of(request).turns for part in turn.parts if isinstance(part, str))


def characters(request: Request) -> int:
    """Length of all texts of a request, in characters."""
    script = script_of(request)
    return sum(
        len(part)
        for parts in [*(turn.parts for turn in script.turns), *script.responses]
        for part in parts
        if isinstance(part, str)
    )


def _text_hash(script: Script) -> str:
    return _digest([_asked(script), *sorted(_written(response, script) for response in script.responses)])


def _asked(script: Script) -> bytes:
    """Prompt without the images, and a video behind them, that stand before all text; `content_hash` adds these."""
    if len(script.turns) != 1:
        return _digest(
            part for turn in script.turns for part in (turn.role.encode(), _written(turn.parts, script))
        ).encode()
    parts, shown = script.turns[0].parts, 0
    while shown < len(parts) and isinstance(parts[shown], int) and parts[shown] not in script.videos:
        shown += 1
    shown += shown < len(parts) and isinstance(parts[shown], int)
    return _written(parts[shown:], script)


def _written(parts: Sequence[str | int], script: Script) -> bytes:
    """Text as it is; of texts with media, a hash that knows the places and kinds of the media."""
    if all(isinstance(part, str) for part in parts):
        return "".join(map(str, parts)).encode()
    pieces = [""]
    for part in parts:
        if isinstance(part, str):
            pieces[-1] += part
        else:
            pieces += ["video" if part in script.videos else "image", ""]
    return _digest(piece.encode() for piece in pieces).encode()


def _frames(video: Any) -> list[Any]:
    if isinstance(video, bytes):
        return [video]
    if isinstance(video, (list, tuple, np.ndarray)):
        return list(video)
    path = Path(str(video))
    return list(frame_files(path)) if path.is_dir() else [path]


def _medium_bytes(medium: Any) -> list[bytes]:
    """Bytes of a file, or shape and pixels of an array or image."""
    if isinstance(medium, bytes):
        return [medium]
    if isinstance(medium, (np.ndarray, Image.Image)):
        pixels = np.asarray(medium)
        return [repr(pixels.shape).encode(), pixels.tobytes()]
    return [Path(medium).read_bytes()]


def _digest(parts: Iterable[bytes]) -> str:
    """SHA-256 of parts in their order; each is preceded by its length, so that no two sequences run together."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
