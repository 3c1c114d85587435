"""Test whether a file ends before the end that its own headers announce, as after an interrupted download."""

from __future__ import annotations

import io

from ._budget import MeteredFile

BOXES_OF_CONTENT = (b"mdat", b"moov", b"moof", b"meta")
SEGMENT = b"\x18\x53\x80\x67"


def is_cut_off(file: MeteredFile) -> bool:
    """True where an MP4, QuickTime, AVIF, AVI, WebP, Matroska, WebM or GIF file lacks its end.

    Of other files, and of those whose headers leave the length open, nothing is known: False.
    """
    total = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[4:8] in (b"ftyp", *BOXES_OF_CONTENT, b"free", b"wide", b"skip"):
        return _boxes_end(file, total) > total
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WEBP"):
        return 8 + int.from_bytes(head[4:8], "little") > total
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _segment_end(file) > total
    return head[:4] == b"GIF8" and not _gif_ends(file)


def _boxes_end(file: MeteredFile, total: int) -> int:
    """End of the last of the boxes that hold data, or 0."""
    place = end = 0
    while place + 8 <= total:
        file.seek(place)
        head = file.read(16)
        size, kind, least = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, least = int.from_bytes(head[8:16], "big"), 16
        if size < least:  # 0: to the end of the file
            break
        place += size
        end = place if kind in BOXES_OF_CONTENT else end
    return end


def _segment_end(file: MeteredFile) -> int:
    """End of a Matroska file's segment, or 0 where it does not say it."""
    file.seek(4)
    header = _vint(file)
    if header is None:
        return 0
    file.seek(header, io.SEEK_CUR)
    if file.read(4) != SEGMENT:
        return 0
    size = _vint(file)
    return 0 if size is None else file.tell() + size


def _vint(file: MeteredFile) -> int | None:
    """Number of variable length; None where it is left open or damaged."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(first + file.read(more), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


def _gif_ends(file: MeteredFile) -> bool:
    """Whether the blocks lead to the trailer."""
    file.seek(10)
    _skip_colours(file)
    file.seek(2, io.SEEK_CUR)
    while kind := file.read(1):
        if kind == b";":
            return True
        if kind == b",":
            file.seek(8, io.SEEK_CUR)
            _skip_colours(file)
        elif kind != b"!":  # filling
            continue
        # After an image the size of its codes follows, after an extension mark its kind.
        file.seek(1, io.SEEK_CUR)
        while (size := file.read(1)) and size[0]:
            file.seek(size[0], io.SEEK_CUR)
    return False


def _skip_colours(file: MeteredFile) -> None:
    """Skip a table of colours, where the next byte says that there is one."""
    flags = file.read(1)
    if flags and flags[0] & 0x80:
        file.seek(3 << ((flags[0] & 7) + 1), io.SEEK_CUR)
