"""Formats of pictures and containers of videos that are read. No file is handed to the reader of another format."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import LimitError

OWN_MEMORY_PIXELS = 178_956_970 // 3
"""Most pixels of pictures whose decoders have memory of their own beside Pillow's: up to 20 bytes a pixel, where others
take 4 in all. The largest cost about what two copies of the largest picture of others do."""
PICTURE_BYTES = 2**30
"""Largest file of a picture in bytes: 16 bits in each of three channels of the largest picture."""
WHOLE_BYTES = 2**28
"""Largest WebP, AVIF or HEIC file in bytes; their readers hold the whole file, and WebP's holds it twice."""
ICON_PIXELS = 1024 * 1024


@dataclass(frozen=True)
class PictureFormat:
    """One format of pictures."""

    name: str
    """Name of the reader in Pillow."""
    said: str
    """Name of the format in messages."""
    endings: tuple[str, ...]
    """Endings of file names, by which the frames of a folder are told from other files."""
    pixels: int | None = None
    """Most pixels (width times height) of this format; None for the bundle's limit alone."""


PICTURES = (
    PictureFormat("JPEG", "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")),
    PictureFormat("PNG", "PNG", (".png", ".apng")),
    PictureFormat("WEBP", "WebP", (".webp",), OWN_MEMORY_PIXELS),
    PictureFormat("GIF", "GIF", (".gif",)),
    PictureFormat("BMP", "BMP", (".bmp",)),
    PictureFormat("TIFF", "TIFF", (".tif", ".tiff")),
    PictureFormat("AVIF", "AVIF", (".avif", ".avifs"), OWN_MEMORY_PIXELS),
    PictureFormat("HEIF", "HEIC", (".heic", ".heif", ".hif"), OWN_MEMORY_PIXELS),
    PictureFormat("JPEG2000", "JPEG 2000", (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"), OWN_MEMORY_PIXELS),
    PictureFormat("PPM", "PPM", (".ppm", ".pgm", ".pbm", ".pnm")),
    PictureFormat("ICO", "ICO", (".ico",), ICON_PIXELS),
    PictureFormat("TGA", "TGA 2", (".tga", ".icb", ".vda", ".vst")),
)
"""Formats of pictures, in the order in which they are tried."""
ANIMATIONS = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats of Pillow that are read as videos."""
CONTAINERS = {
    "mov": "MP4, QuickTime, 3GP",
    "matroska": "Matroska, WebM",
    "avi": "AVI",
    "mpegts": "MPEG transport stream",
    "mpeg": "MPEG program stream",
    "flv": "Flash video",
    "asf": "ASF, WMV",
    "ogg": "Ogg",
    "mxf": "MXF",
    "nut": "NUT",
}
"""Name of FFmpeg's reader -> the containers that it reads, as messages name them. None of them opens another file;
playlists (``hls``, ``dash``, ``concat``), devices, filters (``lavfi``), numbered pictures (``image2``) and texts
(``tty``) are left out."""

PROGRAMS = (
    (b"%!", "a PostScript program"),
    (b"\x04%!", "a PostScript program"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript program"),
    (b"%PDF", "a PDF document"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"\x01\x00\x00\x00", "a Windows metafile"),
    (b"8BPS", "a Photoshop document"),
    (b"SIMPLE", "a FITS table"),
    (b"icns", "a set of icons of macOS"),
    (b"<svg", "an SVG document"),
    (b"<?xml", "an XML document"),
    (b"#EXTM3U", "a playlist"),
    (b"ffconcat", "a list of files"),
)
"""Beginnings of files that are given as media and are none, for error messages alone."""


def check_own_memory(form: PictureFormat, width: int, height: int, name: str) -> None:
    """Refuse a picture that costs more memory than the largest picture of other formats.

    Raises:
        LimitError: the picture has more pixels than are decoded in this format.
    """
    if form.pixels is not None and width * height > form.pixels:
        raise LimitError(
            f"{name} is {form.said} of {width}x{height} = {width * height:,} pixels; {form.pixels:,} are the limit of "
            "this format. Shrink it first, or save it as PNG or JPEG."
        )


def check_bytes(whole: bool, size: int, name: str) -> None:
    """Refuse a picture's file that is larger than pictures are.

    Args:
        whole: whether the format's reader holds the whole file.
        size: size of the file in bytes.
        name: name of the picture in errors.

    Raises:
        LimitError: the file is too large; the text says how large it may be.
    """
    if size > (most := WHOLE_BYTES if whole else PICTURE_BYTES):
        raise LimitError(
            f"{name} has {size:,} bytes; {most:,} are the limit of a picture of its format. Shrink it first."
        )


def picture_formats_said() -> str:
    """Names of the picture formats, for an error."""
    return ", ".join(form.said for form in PICTURES)


def containers_said() -> str:
    """Names of the video containers, for an error."""
    return ", ".join(CONTAINERS.values())


def what_it_is(head: bytes) -> str:
    """Kind of a file that is read as no medium, judged by its beginning, in words that follow ``is``; or empty."""
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((said for signature, said in PROGRAMS if begin.startswith(signature) or head.startswith(signature)), "")
