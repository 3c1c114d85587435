"""Whatever a caller calls an image -> uint8 RGB pixels, upright, or an error that says why not."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import LimitError, MediaError, YojError

ImageInput: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]"


def load_image(image: ImageInput, max_pixels: int, name: str = "image") -> NDArray[np.uint8]:
    """Decode one still image.

    EXIF orientation is applied. CMYK, greyscale and palette images become RGB; transparency is dropped, as the
    reference's ``convert("RGB")`` does; 16-bit greyscale is scaled to 8 bits.

    Args:
        image: a path, the bytes of an image file, a PIL image, or a [H, W, 3] uint8 array.
        max_pixels: width times height that is refused above.
        name: how errors call the image.

    Returns:
        [H, W, 3] uint8.

    Raises:
        MediaError: not an image, truncated, animated, or of an unusable mode, type or shape.
        LimitError: more than ``max_pixels``.
    """
    if isinstance(image, np.ndarray):
        return _checked_array(image, max_pixels, name)
    if isinstance(image, Image.Image):
        return _pixels(image, max_pixels, name)
    if isinstance(image, bytes):
        return _decode(io.BytesIO(image), max_pixels, f"{name} ({len(image)} bytes)")
    if isinstance(image, str | os.PathLike):  # pyright: ignore[reportUnnecessaryIsInstance]
        path = Path(image)
        if not is_file(path):
            raise MediaError(f"{name}: no file {shorten(str(path))}. Give the path of an image file.")
        return _decode(path, max_pixels, f"{name} ({path})")
    raise MediaError(
        f"{name} is a {type(image).__name__}; give a path, bytes, a PIL image or a uint8 array of shape [H, W, 3]."
    )


def _checked_array(array: NDArray[Any], max_pixels: int, name: str) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise MediaError(
            f"{name} is an array of {array.dtype} {list(array.shape)}; give uint8 [H, W, 3], RGB, at least 1x1."
        )
    _check_size(array.shape[1], array.shape[0], max_pixels, name)
    return array


def is_file(path: Path) -> bool:
    """Whether there is a file, also for a text that can be no path."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # longer than a name may be, or with a null byte: a data URI, for instance
        return False


def _decode(source: Path | io.BytesIO, max_pixels: int, name: str) -> NDArray[np.uint8]:
    try:
        with Image.open(source) as image:
            return _pixels(image, max_pixels, name)
    except YojError:
        raise
    except Image.DecompressionBombError as error:
        raise LimitError(f"{name}: {error} The limit is {max_pixels:,} pixels; shrink the image first.") from error
    except UnidentifiedImageError as error:
        raise MediaError(
            f"{name} is not an image that Pillow can read. Check that the file is what it claims."
        ) from error
    except Exception as error:  # on damaged files Pillow's readers raise whatever their parsing runs into
        raise MediaError(f"{name} cannot be opened as an image: {error}. Replace the file.") from error


def _pixels(image: Image.Image, max_pixels: int, name: str) -> NDArray[np.uint8]:
    _check_size(image.width, image.height, max_pixels, name)
    try:
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # an MPO file is one photograph with previews behind it
            raise MediaError(f"{name} is animated ({frames} frames); choose one frame and pass that.")
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image), name)
    except YojError:
        raise
    except Exception as error:
        raise MediaError(f"{name} is truncated or damaged: {error}. Replace the file.") from error


def _to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N"):
        # convert("RGB") would clip every value above 255 to white.
        grey = np.asarray(image).astype(np.int64)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        kind = "32-bit" if image.mode == "I" else "floating-point"
        raise MediaError(f"{name} has {kind} pixels, whose white is unknown; save it with 8 or 16 bits a channel.")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns when a palette's byte transparency is dropped in one step
    return np.asarray(image.convert("RGB"))


def _check_size(width: int, height: int, max_pixels: int, name: str) -> None:
    if not width * height:
        raise MediaError(f"{name} is {width}x{height} pixels: it is empty. Give an image of at least 1x1.")
    if width * height > max_pixels:
        raise LimitError(
            f"{name} is {width}x{height} = {width * height:,} pixels; the limit is {max_pixels:,}. Shrink it first."
        )


def shorten(text: str, width: int = 100) -> str:
    """The beginning of a long text, for an error."""
    return text if len(text) <= width else f"{text[:width]}... ({len(text)} characters)"
