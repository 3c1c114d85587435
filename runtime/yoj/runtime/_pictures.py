"""Pictures in files and in Pillow's hands -> upright RGB pixels, or an error that says why not."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from ._budget import MeteredFile, opened
from ._formats import PICTURES, PictureFormat, check_bytes, check_own_memory, picture_formats_said, what_it_is
from ._heads import (
    MOST_PAGES,
    check_decoder,
    check_scans,
    check_strips,
    frames_of,
    size_of_codestream,
    size_of_webp,
    sizes_of_icons,
)
from ._rgb import to_rgb
from .error_texts import reason
from .errors import LimitError, MediaError, YojError
from .images import HEAD_BYTES, ImageInput, ImageRules, check_size, is_file, is_heif

FORMATS = {form.name: form for form in PICTURES} | {"MPO": PICTURES[0]}
"""Format by the name that an opened image has; an MPO file is a JPEG with previews behind it."""
TGA_END = b"TRUEVISION-XFILE.\0"


def is_picture(source: object) -> TypeGuard[Image.Image]:
    """Whether the source is an image of Pillow's."""
    return isinstance(source, Image.Image)


def open_picture(file: MeteredFile, name: str, formats: Sequence[str] | None = None) -> Image.Image:
    """Open a picture's file without decoding it, HEIC included.

    Args:
        file: the picture, at any offset.
        name: name of the picture in errors.
        formats: Pillow's names of the formats that are read; None for all of `yoj.runtime._formats`.

    Raises:
        MediaError: the picture is HEIC, whose reader is not installed.
        LimitError: the picture has more pixels or bytes than its format may have.
        UnidentifiedImageError: the file is of no such format.
        Exception: Pillow cannot read the file; whatever it raises.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    check_bytes(head[4:8] == b"ftyp" or head[:4] == b"RIFF", file.size, name)
    if not is_heif(head):
        _check_head(file, head, name)
        file.seek(0)
        return Image.open(file, formats=[form for form in formats or readable() if form != "TGA" or _is_tga(file)])  # pyright: ignore[reportArgumentType]
    try:
        # Lazily, and without registering its reader, which would change Pillow for the whole process.
        heif: Any = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise MediaError(
            f"{name} is a HEIC picture, and reading it needs pillow-heif ({error}). "
            "Install it with: pip install 'yoj[heic]'; or save the picture as JPEG."
        ) from error
    file.seek(0)
    return heif.HeifImageFile(file)


def read_picture(source: Path | bytes, rules: ImageRules, name: str) -> tuple[NDArray[np.uint8], bool]:
    """Decode a picture's file to its pixels, and whether some are not opaque.

    Raises:
        MediaError: the file cannot be opened, or see `read_picture_file`.
        LimitError: the image has more pixels than the rules allow, or the request's budget is spent.
    """
    try:
        file = opened(source, rules.spent(), name)
    except OSError as error:
        raise MediaError(
            f"{name} cannot be opened as an image: {reason(error)}. Give a file that can be read."
        ) from error
    with file:
        return read_picture_file(file, rules, name)


def read_picture_file(file: MeteredFile, rules: ImageRules, name: str) -> tuple[NDArray[np.uint8], bool]:
    """Decode an open picture's file to its pixels, and whether some are not opaque.

    Raises:
        MediaError: the file is no image, of a format that is not read, truncated, animated, or of an unusable mode;
            or HEIC, whose reader is not installed.
        LimitError: the image has more pixels than the rules allow, or the request's budget is spent.
    """
    try:
        with open_picture(file, name) as image:
            _check_file(image, file, name)
            return pixels_of(image, rules, name, ours=True)
    except YojError:
        raise
    except Image.DecompressionBombError as error:
        raise LimitError(
            f"{name}: {error} The limit is {rules.pixels:,} pixels; shrink the image first, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS as well."
        ) from error
    except UnidentifiedImageError as error:
        raise MediaError(_unknown(file, name)) from error
    except Exception as error:  # on damaged files Pillow's readers raise whatever their parsing runs into
        raise MediaError(f"{name} cannot be opened as an image: {reason(error)}. Replace the file.") from error


def pixels_of(image: Image.Image, rules: ImageRules, name: str, ours: bool) -> tuple[NDArray[np.uint8], bool]:
    """Decode an image of Pillow's to its pixels, and whether some are not opaque.

    Args:
        image: the opened image.
        rules: the bundle's rules for pictures.
        name: name of the picture in errors.
        ours: whether nobody else has the image, so that its memory may be used for the result.

    Raises:
        MediaError: the image is of a format that is not read, truncated, animated, or of an unusable mode.
        LimitError: the image has more pixels than the rules allow, or the request's budget is spent.
    """
    form = _format_of(image, name)
    check_size(image.width, image.height, rules, name)
    if form is not None:
        check_own_memory(form, image.width, image.height, name)
    rules.spent().take_pixels(image.width * image.height, name)
    try:
        frames = frames_of(image)
        if frames > 1 and image.format != "MPO":  # an MPO file is one photograph with previews behind it
            more = " or more" * (frames == MOST_PAGES)
            raise MediaError(f"{name} is animated ({frames} frames{more}); choose one frame and pass that.")
        pixels_HWC, see_through = to_rgb(image, rules.transparency, name, ours)
    except YojError:
        raise
    except Exception as error:
        raise MediaError(f"{name} is truncated or damaged: {reason(error)}. Replace the file.") from error
    check_size(pixels_HWC.shape[1], pixels_HWC.shape[0], rules, name)  # some decoders find another than was announced
    return pixels_HWC, see_through


def is_video_path(entry: ImageInput) -> TypeGuard[str | os.PathLike[str]]:
    """Whether an entry of a list of frames is a file that by its name and its content is no picture."""
    if not isinstance(entry, str | os.PathLike) or not is_file(path := Path(entry)):
        return False
    if path.suffix.lower() in picture_endings():
        return False
    head = b""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if is_heif(head):
                return False
            with Image.open(file, formats=[form for form in readable() if form not in ("TGA", "ICO")]):
                return False
    except UnidentifiedImageError:
        return not what_it_is(head)
    except Exception:  # a picture, if a damaged one: reading it as a frame says so
        return False


@functools.cache
def picture_endings() -> frozenset[str]:
    """Endings of the names of files that are read as pictures."""
    return frozenset(ending for form in PICTURES for ending in form.endings if form.name in {*readable(), "HEIF"})


@functools.cache
def readable() -> tuple[str, ...]:
    """Names of the listed formats that this Pillow can read."""
    Image.init()
    return tuple(form.name for form in PICTURES if form.name in Image.OPEN and form.name != "HEIF")


def _check_head(file: MeteredFile, head: bytes, name: str) -> None:
    """Refuse too many pixels of a format whose reader decodes, or allocates for it, when it is opened."""
    sizes: list[tuple[int, int]] = []
    form = FORMATS["WEBP"]
    if head[:4] == b"RIFF" and (size := size_of_webp(head)):
        sizes = [size]
    elif head[:4] == b"\0\0\1\0":
        form, sizes = FORMATS["ICO"], sizes_of_icons(file)
    for width, height in sizes:
        check_own_memory(form, width, height, name)


def _check_file(image: Image.Image, file: MeteredFile, name: str) -> None:
    """Refuse a picture that decodes slowly or into much memory, judged by its file's headers."""
    check_decoder(image, name)
    if image.format in ("JPEG", "MPO"):
        check_scans(file, name)
    elif image.format == "TIFF":
        check_strips(image, name)
    elif image.format == "JPEG2000" and (found := size_of_codestream(file)):
        width, height, components = found
        if (width, height) != image.size or components > 4:
            raise MediaError(
                f"{name} says that it is {image.width}x{image.height}, and its data that they are {width}x{height} in "
                f"{components} components; at most 4 are read. Save it again as PNG."
            )


def _format_of(image: Image.Image, name: str) -> PictureFormat | None:
    """Format of an image that is still in its file; None for one that is in memory.

    Raises:
        MediaError: the format is not read.
    """
    if not isinstance(image, ImageFile.ImageFile):
        return None
    if image.format not in FORMATS:
        raise MediaError(
            f"{name} is of the format {image.format}, which is not read; give one of {picture_formats_said()}, or a "
            "copy in memory: image.copy()."
        )
    return FORMATS[image.format]


def _unknown(file: MeteredFile, name: str) -> str:
    """Text of an error about a file of no listed format."""
    file.seek(0)
    if found := what_it_is(file.read(HEAD_BYTES)):
        return f"{name} is {found}, not an image. Save the picture as PNG or JPEG."
    return (
        f"{name} is not an image that Pillow can read of the formats {picture_formats_said()}. Check that the file is "
        "what it claims, or save it as PNG or JPEG."
    )


def _is_tga(file: MeteredFile) -> bool:
    """Whether a file ends as TGA files do.

    Their beginning can be that of many other files, whose noise would be scored.
    """
    place = file.tell()
    file.seek(max(0, file.size - len(TGA_END)))
    end = file.read()
    file.seek(place)
    return end == TGA_END
