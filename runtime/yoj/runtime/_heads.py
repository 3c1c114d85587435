"""Cost of a picture as its file's headers state it, read before anything is decoded: sizes, scans, strips and pages."""

from __future__ import annotations

import re
from typing import Any

from PIL import Image

from ._budget import MeteredFile
from .errors import LimitError, MediaError

MOST_SCANS = 30
"""Largest number of scans of a JPEG; each costs a pass over the picture, and what programs write has 1 to 18."""
STRIP_BYTES = 2**28
"""Largest strip or tile of a compressed TIFF in bytes, which its decoder holds beside the picture."""
SLOW_DECODERS = ("bmp_rle", "ppm", "ppm_plain")
"""Decoders of Pillow that are written in Python and take about a microsecond per pixel."""
SLOW_PIXELS = 2**24
MOST_PAGES = 1000
"""Number up to which the pages of a TIFF are counted."""
MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
"""Marker in a JPEG's data; 0xff before other bytes belongs to the data."""
SCAN, END = 0xDA, 0xD9
WIDTH, HEIGHT, BITS, COMPRESSION, SAMPLES, ROWS, TILE_WIDTH, TILE_HEIGHT = 256, 257, 258, 259, 277, 278, 322, 323
"""Numbers of TIFF tags."""
PIECE = 2**16


def size_of_webp(head: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP file's canvas; None where the beginning of the file does not say it."""
    kind = head[12:16]
    if kind == b"VP8X" and len(head) >= 30:
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(head) >= 30:
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def sizes_of_icons(file: MeteredFile) -> list[tuple[int, int]]:
    """Width and height of each picture in an ICO file, which its table of contents may understate."""
    file.seek(0)
    table = file.read(6)
    entries = [file.read(16) for _ in range(int.from_bytes(table[4:6], "little"))]
    sizes: list[tuple[int, int]] = []
    for entry in entries:
        file.seek(int.from_bytes(entry[12:16], "little"))
        head = file.read(24)
        if head[:8] == b"\x89PNG\r\n\x1a\n":
            sizes.append((int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")))
        elif head[:4] == b"\x0c\0\0\0":  # the oldest header of a bitmap
            sizes.append((int.from_bytes(head[4:6], "little"), int.from_bytes(head[6:8], "little")))
        else:  # colours and mask under one another; a negative height is that of a picture from the top
            height = int.from_bytes(head[8:12], "little", signed=True)
            sizes.append((int.from_bytes(head[4:8], "little"), abs(height) // 2))
    return sizes


def size_of_codestream(file: MeteredFile) -> tuple[int, int, int] | None:
    """Width, height and components of a JPEG 2000 picture from its code stream; None where there is none.

    The header box of the file may understate them.
    """
    file.seek(_place_of_codestream(file))
    size = file.read(42)
    if size[:4] != b"\xff\x4f\xff\x51" or len(size) < 42:  # the start of a codestream, and its size
        return None
    right, bottom, left, top = (int.from_bytes(size[i : i + 4], "big") for i in (8, 12, 16, 20))
    return right - left, bottom - top, int.from_bytes(size[40:42], "big")


def _place_of_codestream(file: MeteredFile) -> int:
    """Offset of the code stream: at once, or in the box that holds it."""
    place = 0
    while place + 8 <= file.size:
        file.seek(place)
        head = file.read(16)
        size, begin = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, begin = int.from_bytes(head[8:16], "big"), 16
        if head[4:8] == b"jp2c":
            return place + begin
        if (place == 0 and head[4:8] != b"jP  ") or size < begin:
            break
        place += size
    return 0


def check_scans(file: MeteredFile, name: str) -> None:
    """Refuse a JPEG made slow to decode; the file is left behind the end of the picture.

    Raises:
        MediaError: the picture has more scans than any camera or program writes.
    """
    file.seek(2)
    scans = 0
    while (marker := _next_marker(file)) not in (None, END):
        scans += marker == SCAN
        if scans > MOST_SCANS:
            raise MediaError(
                f"{name} is a JPEG of more than {MOST_SCANS} scans, which is made to be slow. Save it again as JPEG."
            )
        if marker == 1 or marker == 0xD8:  # alone, without a length
            continue
        length = int.from_bytes(file.read(2), "big")
        file.seek(max(0, length - 2), 1)


def check_alone(file: MeteredFile, name: str) -> None:
    """Refuse a row of JPEG pictures, of which only the first would be seen. Previews behind a photograph are none.

    Raises:
        MediaError: the file is a row of pictures; the text says what to give instead.
    """
    check_scans(file, name)
    behind = file.read(PIECE).lstrip(b"\0")
    file.seek(0)
    if behind[:2] == b"\xff\xd8" and b"MPF\0" not in file.read(PIECE):
        raise MediaError(f"{name} is a row of JPEG pictures without times. Give them as a list of frames.")


def _next_marker(file: MeteredFile) -> int | None:
    """Read up to behind the next marker; None at the end of the file."""
    before = b""
    while piece := file.read(PIECE):
        data = before + piece
        if found := MARKER.search(data):
            file.seek(found.end() - len(data), 1)
            return data[found.end() - 1]
        before = b"\xff" if data[-1:] == b"\xff" else b""
    return None


def check_strips(image: Image.Image, name: str) -> None:
    """Refuse a TIFF whose decoder would hold a very large strip or tile.

    Raises:
        LimitError: the picture is too large; the text says how large it is.
    """
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(COMPRESSION, 1) == 1:  # read in pieces
        return
    bits: Any = tags.get(BITS, 1)
    sample = int(max(bits, default=1) if isinstance(bits, tuple) else bits)  # pyright: ignore[reportUnknownArgumentType]
    width, height = image.width, min(image.height, int(tags.get(ROWS, image.height)))
    if TILE_WIDTH in tags:
        width, height = int(tags[TILE_WIDTH]), int(tags.get(TILE_HEIGHT, image.height))
    size = width * height * int(tags.get(SAMPLES, 1)) * sample // 8
    if size > STRIP_BYTES:
        raise LimitError(
            f"{name} is a TIFF with a compressed strip or tile of {size:,} bytes; {STRIP_BYTES:,} are the limit. Save "
            "it as PNG, or with fewer rows in a strip (RowsPerStrip)."
        )


def check_decoder(image: Image.Image, name: str) -> None:
    """Refuse a large picture of a kind that is decoded slowly: a packed bitmap, a PPM in letters or of odd depth.

    Raises:
        LimitError: the picture is too large; the text says how large it is.
    """
    decoder = next((str(tile[0]) for tile in getattr(image, "tile", ())), "")
    if decoder in SLOW_DECODERS and image.width * image.height > SLOW_PIXELS:
        raise LimitError(
            f"{name} is {image.format} of {image.width}x{image.height} = {image.width * image.height:,} pixels, stored "
            f"in a way that is slow to decode; {SLOW_PIXELS:,} are the limit of it. Save it as PNG."
        )


def frames_of(image: Image.Image) -> int:
    """Number of frames or pages of a picture; those of a TIFF are counted to `MOST_PAGES`.

    The image stands at its first frame or page afterwards, if it did before.
    """
    if not getattr(image, "is_animated", False):
        return 1
    if image.format != "TIFF":  # which has no number of pages in its header
        return getattr(image, "n_frames", 1)
    before, pages = image.tell(), 1
    try:
        while pages < MOST_PAGES:
            image.seek(pages)
            pages += 1
    except EOFError:
        pass
    image.seek(before)
    return pages
