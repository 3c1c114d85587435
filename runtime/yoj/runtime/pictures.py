"""Pictures in files and in Pillow's hands -> upright RGB pixels, or an error that says why not."""

from __future__ import annotations

import functools
import importlib
import io
import os
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .errors import LimitError, MediaError, YojError
from .images import HEAD_BYTES, ImageInput, ImageRules, check_size, is_file, is_heif
from .rgb import to_rgb

HEIF_ENDINGS = (".heic", ".heif", ".hif")
NO_PICTURES = frozenset(("MPEG", "HDF5", "GRIB", "BUFR", "EPS", "WMF", "FITS", "PDF"))
"""Formats of which Pillow knows the endings, that are no frames of a video or that it cannot decode alone."""


def is_picture(source: object) -> TypeGuard[Image.Image]:
    """Whether it is an image of Pillow's."""
    return isinstance(source, Image.Image)


def open_picture(source: Path | io.BytesIO, name: str) -> Image.Image:
    """Open a picture's file without decoding it, HEIC included.

    Raises:
        MediaError: HEIC without its reader.
        Exception: what Pillow raises for a file that it cannot read.
    """
    head = source.getbuffer()[:HEAD_BYTES].tobytes() if isinstance(source, io.BytesIO) else _head(source)
    if not is_heif(head):
        return Image.open(source)
    try:
        # Lazily, and without registering its reader, which would change Pillow for the whole process.
        heif: Any = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise MediaError(
            f"{name} is a HEIC picture, and reading it needs pillow-heif ({error}). "
            "Install it with: pip install 'yoj[heic]'; or save the picture as JPEG."
        ) from error
    return heif.HeifImageFile(source)


def read_picture(source: Path | io.BytesIO, rules: ImageRules, name: str) -> tuple[NDArray[np.uint8], bool]:
    """Decode a picture's file: its pixels, and whether some are not opaque.

    Raises:
        MediaError: not an image, truncated, animated, or of an unusable mode; HEIC without its reader.
        LimitError: more pixels than the rules allow.
    """
    try:
        with open_picture(source, name) as image:
            return pixels_of(image, rules, name, ours=True)
    except YojError:
        raise
    except Image.DecompressionBombError as error:
        raise LimitError(
            f"{name}: {error} The limit is {rules.pixels:,} pixels; shrink the image first, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS as well."
        ) from error
    except UnidentifiedImageError as error:
        raise MediaError(
            f"{name} is not an image that Pillow can read. Check that the file is what it claims."
        ) from error
    except Exception as error:  # on damaged files Pillow's readers raise whatever their parsing runs into
        raise MediaError(f"{name} cannot be opened as an image: {error}. Replace the file.") from error


def pixels_of(image: Image.Image, rules: ImageRules, name: str, ours: bool) -> tuple[NDArray[np.uint8], bool]:
    """Decode an image of Pillow's: its pixels, and whether some are not opaque.

    Args:
        image: opened.
        rules: of the bundle.
        name: how errors call it.
        ours: whether nobody else has the image, so that its memory may be used for the result.

    Raises:
        MediaError: truncated, animated, or of an unusable mode.
        LimitError: more pixels than the rules allow.
    """
    check_size(image.width, image.height, rules, name)
    try:
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # an MPO file is one photograph with previews behind it
            raise MediaError(f"{name} is animated ({frames} frames); choose one frame and pass that.")
        return to_rgb(image, rules.transparency, name, ours)
    except YojError:
        raise
    except Exception as error:
        raise MediaError(f"{name} is truncated or damaged: {error}. Replace the file.") from error


def is_video_path(entry: ImageInput) -> TypeGuard[str | os.PathLike[str]]:
    """Whether an entry of a list of frames is a file that by its name and its content is no picture."""
    if not isinstance(entry, str | os.PathLike) or not is_file(path := Path(entry)):
        return False
    if path.suffix.lower() in picture_endings():
        return False
    try:
        with Image.open(path):
            return False
    except Image.UnidentifiedImageError:
        with path.open("rb") as file:
            return not is_heif(file.read(HEAD_BYTES))
    except Exception:  # a picture, if a damaged one: reading it as a frame says so
        return False


@functools.cache
def picture_endings() -> frozenset[str]:
    """Endings of the files that Pillow can read, and of HEIC."""
    readable = {ending for ending, form in Image.registered_extensions().items() if form in Image.OPEN}
    return frozenset(readable | set(HEIF_ENDINGS)) - {
        ending for ending, form in Image.registered_extensions().items() if form in NO_PICTURES
    }


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
