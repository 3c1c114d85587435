"""A Pillow image -> upright 8-bit RGB in an array, without a second copy of the picture in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import MediaError
from .images import Transparency

STRIP_PIXELS = 2**20
"""Number of pixels that are converted at a time."""
FOUR_BYTE_MODES = ("RGB", "RGBA", "RGBX", "RGBa", "LA", "La", "PA", "CMYK", "YCbCr", "LAB", "HSV")
"""Modes for which Pillow keeps four bytes per pixel, so that the RGB of a row fits into the memory of the same row."""
MAPPED_FORMATS = ("PNG", "JPEG", "MPO", "TIFF", "BMP", "PPM")
"""Formats that Pillow decodes row by row into given memory; others it decodes into its own first."""
DEEP_GREY_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
ORIENTATION = 0x0112
"""Number of the EXIF tag for the orientation."""


def to_rgb(image: Image.Image, transparency: Transparency, name: str, ours: bool) -> tuple[NDArray[np.uint8], bool]:
    """Decode an image, convert it to RGB and turn it upright.

    CMYK, greyscale and palette images become RGB; 16-bit greyscale is scaled to 8 bits.

    Args:
        image: an image of one frame.
        transparency: treatment of pixels that are not opaque.
        name: name of the image in errors.
        ours: whether nobody else has the image, so that its memory may be used for the result.

    Returns:
        [H, W, 3] uint8, not always contiguous, and whether some pixel is not opaque.

    Raises:
        MediaError: the white of its pixels is unknown.
        Exception: the file is damaged; whatever Pillow raises.
    """
    memory = _load(image, ours)
    if image.mode in ("I", "F"):
        kind = "32-bit" if image.mode == "I" else "floating-point"
        raise MediaError(f"{name} has {kind} pixels, whose white is unknown; save it with 8 or 16 bits a channel.")
    width, height = image.size
    if memory is None:
        pixels_HWC = np.empty((height, width, 3), np.uint8)
    else:  # Its rows are read before their place is written: the result's rows are shorter.
        pixels_HWC = memory.reshape(-1)[: height * width * 3].reshape(height, width, 3)
    rows, see_through = max(1, STRIP_PIXELS // width), False
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        pixels_HWC[top : top + rows], not_opaque = _convert(strip, transparency)
        see_through |= not_opaque
    return _upright(pixels_HWC, image.getexif().get(ORIENTATION, 1)), see_through


def _load(image: Image.Image, ours: bool) -> NDArray[np.uint8] | None:
    """Decode an image; where that works, into an array, which is returned.

    Pillow has no way to give its memory away: a copy beside it would cost 7 bytes a pixel instead of 4.
    """
    fits = ours and image.mode in FOUR_BYTE_MODES and image.format in MAPPED_FORMATS
    # A TIFF that is to be turned has its sides exchanged in Pillow before it is decoded.
    if not fits or (image.format == "TIFF" and image.getexif().get(ORIENTATION, 1) != 1):
        image.load()
        return None
    memory = np.empty((image.height, image.width, 4), np.uint8)
    core: Any = Image.core
    image.im = core.map_buffer(memory, image.size, "raw", 0, (image.mode, 0, 1))
    mapped = image.im
    image.load()
    return memory if image.im is mapped else None  # some of Pillow's readers make an image of their own


def _convert(strip: Image.Image, transparency: Transparency) -> tuple[NDArray[np.uint8], bool]:
    """RGB of some rows, and whether some of their pixels are not opaque."""
    if strip.mode in DEEP_GREY_MODES:
        return _deep_grey(strip, transparency)
    if strip.mode in ("RGBa", "La"):  # premultiplied
        strip = strip.convert({"RGBa": "RGBA", "La": "LA"}[strip.mode])
    if "A" not in strip.getbands() and strip.info.get("transparency") is None:
        return np.asarray(strip.convert("RGB")), False
    layered = strip.convert("RGBA")
    least, _ = layered.getchannel("A").getextrema()
    if transparency == "white" and least != 255:
        layered = Image.alpha_composite(Image.new("RGBA", layered.size, (255, 255, 255, 255)), layered)
    return np.asarray(layered.convert("RGB")), least != 255


def _deep_grey(strip: Image.Image, transparency: Transparency) -> tuple[NDArray[np.uint8], bool]:
    """Scale 16 bits to 8: ``convert("RGB")`` would clip every value above 255 to white."""
    deep = np.asarray(strip)
    clear = deep == strip.info.get("transparency", -1)
    # In steps of 257, rounded to the nearest: 32 bits hold all sums.
    grey = ((deep.astype(np.int32) + 128) // 257).astype(np.uint8)
    if transparency == "white":
        grey[clear] = 255
    return np.repeat(grey[:, :, None], 3, axis=2), bool(clear.any())


def _upright(pixels_HWC: NDArray[np.uint8], orientation: Any) -> NDArray[np.uint8]:
    """View of the pixels, turned as EXIF says that the picture is to be shown."""
    if orientation in (5, 6, 7, 8):
        pixels_HWC = pixels_HWC.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels_HWC = pixels_HWC[::-1]
    if orientation in (2, 3, 6, 7):
        pixels_HWC = pixels_HWC[:, ::-1]
    return pixels_HWC
