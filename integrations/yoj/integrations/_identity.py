"""Identity: digests of prompts, media and responses, by which samples of a group are compared and repeats known."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from yoj.runtime import Image, MediaError, Message, Video


def identity(value: object) -> tuple[bytes, int]:
    """Digest of a prompt, a medium, a response, or several of them.

    A conversation is the same whether its turns are `Message` or mappings, and with or without fields that are None,
    which tables write into parts of other kinds. A picture is the same as another in the same form alone: a path has
    the identity of its text, and of no pixels.

    Args:
        value: texts, numbers, bytes, paths, PIL images, arrays, parts, turns, None, and sequences and mappings of them.

    Returns:
        SHA-256 of the content, and the bytes that went into it.

    Raises:
        MediaError: there is an open file, which can be read but once, or something that is none of these.
    """
    sha, count = hashlib.sha256(), 0
    for kind, content in _pieces(value):
        sha.update(b"%s %d:" % (kind, len(content)))
        sha.update(content)
        count += len(content)
    return sha.digest(), count


def _pieces(value: object) -> Iterator[tuple[bytes, bytes]]:
    """Content in the order of its places, each with its kind, so that unlike values give unlike rows of bytes."""
    match value:
        case np.generic():
            yield from _pieces(cast("np.generic[object]", value).item())
        case None | bool() | int() | float():
            yield b"number", repr(value).encode()
        case str():
            yield b"text", value.encode(errors="surrogatepass")
        case bytes() | bytearray() | memoryview():
            yield b"bytes", bytes(cast("bytes", value))
        case os.PathLike():
            yield b"path", os.fsencode(cast("os.PathLike[str]", value))
        case np.ndarray():
            array = cast("NDArray[np.generic]", value)
            yield b"array", f"{array.dtype} {array.shape}".encode()
            yield b"bytes", array.tobytes()
        case Message():
            yield from _mapping({"role": value.role, "content": value.content})
        case Image():
            yield from _mapping({"type": "image", "image": value.source})
        case Video():
            yield from _mapping(
                {"type": "video", "video": value.source, "fps": value.fps, "timestamps": value.timestamps}
            )
        case Mapping():
            yield from _mapping(cast("Mapping[Any, object]", value))
        case Sequence():
            sequence = cast("Sequence[object]", value)
            yield b"sequence", str(len(sequence)).encode()
            for one in sequence:
                yield from _pieces(one)
        case _:
            yield from _picture(value)


def _mapping(fields: Mapping[Any, object]) -> Iterator[tuple[bytes, bytes]]:
    given = {str(name): value for name, value in fields.items() if value is not None}
    yield b"mapping", str(len(given)).encode()
    for name in sorted(given):
        yield b"name", name.encode(errors="surrogatepass")
        yield from _pieces(given[name])


def _picture(value: object) -> Iterator[tuple[bytes, bytes]]:
    """Pieces of a PIL image: pixels, and what else changes how they are read."""
    from PIL import Image as Pillow

    if not isinstance(value, Pillow.Image):
        raise MediaError(
            f"A sample holds a {type(value).__name__}, of which nobody can say whether the group's other samples hold "
            "the same. Give pictures as bytes, paths, PIL images or uint8 arrays, and texts as str."
        )
    about = {name: value.info[name] for name in ("exif", "transparency") if name in value.info}
    palette = value.getpalette() if value.mode in ("P", "PA") else None
    yield b"picture", f"{value.mode} {value.size} {palette}".encode()
    yield from _mapping(about)
    yield b"bytes", value.tobytes()
