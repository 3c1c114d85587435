"""Any form in which a caller gives an image -> uint8 RGB pixels, upright, or an error that says why not."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._budget import Spending
from .error_texts import shorten
from .errors import LimitError, MediaError

if TYPE_CHECKING:
    from PIL import Image

Transparency: TypeAlias = Literal["white", "drop"]
"""Treatment of transparency: ``white`` puts the picture on white, ``drop`` ignores alpha, so that the colours under it
show."""

SAID = {
    "white": "transparent parts were put on white",
    "drop": "transparency was ignored, so the colours stored under it show",
}


class BinaryFile(Protocol):
    """Open binary file; it need not be seekable."""

    def read(self) -> bytes:
        """Read the rest of the file."""
        ...


Content: TypeAlias = bytes | bytearray | memoryview | BinaryFile
"""Content of a file, or an open file to read it from."""
ImageInput: TypeAlias = "str | os.PathLike[str] | Content | Image.Image | NDArray[np.uint8]"

HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
AVIF_BRANDS = frozenset((b"avif", b"avis"))
COMMON_BRANDS = frozenset((b"mif1", b"msf1"))
"""Brands of ISO files that name a container and no codec."""
HEAD_BYTES = 128
"""Bytes at the beginning of a file that are enough to tell its format."""


@dataclass(frozen=True)
class ImageRules:
    """Rules of a model's bundle for pictures."""

    pixels: int
    """Most pixels (width times height) of a picture."""
    transparency: Transparency = "white"
    """Treatment of transparency: ``white`` as today's stock processors, ``drop`` as ``convert("RGB")``, which they once
    used."""
    spending: Spending | None = None
    """Costs of the request's media so far; None for a budget of each medium's own."""

    def spent(self) -> Spending:
        """Spending of the request.

        Raises:
            ValueError: no spending was given.
        """
        if self.spending is None:
            raise ValueError("These rules have no spending; use the rules of with_spending().")
        return self.spending

    def with_spending(self) -> ImageRules:
        """Copy of these rules with a new budget where they have none."""
        return self if self.spending is not None else replace(self, spending=Spending())


@dataclass(frozen=True)
class Picture:
    """One decoded image."""

    pixels_HWC: NDArray[np.uint8]
    """[H, W, 3] uint8, not always contiguous."""
    notices: tuple[str, ...] = ()
    """Differences from the image as it was given, in phrases that begin with its name."""


def load_image(image: ImageInput, rules: ImageRules, name: str = "image") -> Picture:
    """Decode one still image.

    EXIF orientation is applied. CMYK, greyscale and palette images become RGB; what is not opaque is put on white or
    taken as opaque, as the rules say; 16-bit greyscale is scaled to 8 bits. A file takes about 4 bytes of memory a
    pixel, or that and a strip of its own where it is a TIFF; `yoj.runtime._formats` names the formats that take more.

    Args:
        image: a path, the bytes of an image file or an open binary file (read from its beginning, and left where it
            was, if it can be), a PIL image, or a [H, W, 3] uint8 array.
        rules: the bundle's rules for pictures.
        name: name of the image in errors and notices.

    Raises:
        MediaError: the file is no image, of a format that is not read, truncated, animated, or of an unusable mode,
            type or shape; HEIC without its reader.
        LimitError: the image has more pixels than the rules allow, or the request's budget is spent.
    """
    pixels_HWC, see_through = _decoded(image, rules.with_spending(), name)
    return Picture(pixels_HWC, (f"{name}: {SAID[rules.transparency]}",) if see_through else ())


def _decoded(image: ImageInput, rules: ImageRules, name: str) -> tuple[NDArray[np.uint8], bool]:
    """Decode to pixels [H, W, 3], and whether some are not opaque."""
    if isinstance(image, np.ndarray):
        pixels_HWC = _checked_array(image, rules, name)
        rules.spent().take_pixels(pixels_HWC.shape[0] * pixels_HWC.shape[1], name)
        return pixels_HWC, False
    # Importing the runtime does not import Pillow.
    from ._pictures import is_picture, pixels_of, read_picture

    if is_picture(image):
        return pixels_of(image, rules, name, ours=False)
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        if not is_file(path):
            raise MediaError(f"{name}: no file {shorten(str(path))}. Give the path of an image file.")
        return read_picture(path, rules, f"{name} ({path})")
    content = content_of(image, name)
    if content is None:
        raise MediaError(
            f"{name} is a {type(image).__name__}; give a path, bytes, an open binary file, a PIL image or a uint8 "
            "array of shape [H, W, 3]."
        )
    return read_picture(content, rules, f"{name} ({len(content)} bytes)")


def content_of(source: object, name: str) -> bytes | None:
    """Bytes of a bytes-like object or of an open file; None for anything else.

    Raises:
        MediaError: the file cannot be read, or is open for text.
    """
    if isinstance(source, bytes):
        return source
    file: Any = source
    if isinstance(source, bytearray | memoryview):
        return bytes(file)
    if not callable(getattr(source, "read", None)):
        return None
    try:
        place = file.tell() if hasattr(source, "seekable") and file.seekable() else None
        if place is not None:
            file.seek(0)
        content: Any = file.read()
        if place is not None:
            file.seek(place)
    except Exception as error:  # a caller's object raises what it likes
        raise MediaError(
            f"{name} is a file that cannot be read: {error}. Give one that is open for reading."
        ) from error
    if not isinstance(content, bytes):
        raise MediaError(
            f"{name} is a file that gives {type(content).__name__} instead of bytes. Give one opened with 'rb'."
        )
    return content


def is_file(path: Path) -> bool:
    """Whether this names a file; False for a text that can be no path."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # longer than a name may be, or with a null byte: a data URI, for instance
        return False


def is_heif(head: bytes) -> bool:
    """Whether the beginning of a file is that of a HEIF picture (HEIC), which Pillow alone cannot read."""
    if head[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major, brands = head[8:12], {head[8:12], *(head[i : i + 4] for i in range(16, end, 4))}
    return major in HEIF_BRANDS or (major in COMMON_BRANDS and not brands & AVIF_BRANDS)


def _checked_array(array: NDArray[Any], rules: ImageRules, name: str) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise MediaError(
            f"{name} is an array of {array.dtype} {list(array.shape)}; give uint8 [H, W, 3], RGB, at least 1x1."
        )
    check_size(array.shape[1], array.shape[0], rules, name)
    return array


def check_size(width: int, height: int, rules: ImageRules, name: str) -> None:
    """Refuse an empty or too large image before it is decoded.

    Raises:
        MediaError: the image has no pixels.
        LimitError: the image has more pixels than the rules allow.
    """
    if not width * height:
        raise MediaError(f"{name} is {width}x{height} pixels: it is empty. Give an image of at least 1x1.")
    if width * height > rules.pixels:
        raise LimitError(
            f"{name} is {width}x{height} = {width * height:,} pixels; the limit is {rules.pixels:,}. Shrink it first."
        )
