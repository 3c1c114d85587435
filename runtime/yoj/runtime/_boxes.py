"""Sample tables of MP4 and QuickTime files: a few bytes may announce any number of samples, so counts are checked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._budget import MeteredFile

NESTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf")
DEEPEST = 8
MOST_BOXES = 1_000_000
"""Most fragments of a file; each costs some steps here and in FFmpeg, and a fragment of a second has about ten."""


def impossible_samples(file: MeteredFile) -> str:
    """Contradiction between the samples that a file announces and its size, in words that follow its name; or empty.

    Every sample has a byte at least. FFmpeg makes an entry of tens of bytes for each one that is announced.
    """
    fragments = 0
    # Of any file: FFmpeg looks for boxes behind whatever reads as one, and in other files these kinds are not found.
    for number, (kind, place, size) in enumerate(_tables(file, 0, file.size, 0)):
        if number == MOST_BOXES:
            return f"has more than {MOST_BOXES:,} boxes"
        if kind == b"cmov":
            return "has a compressed header (cmov), which is not read"
        file.seek(place)
        samples = _samples(kind, file.read(min(size, 12)), file, size)
        fragments += samples if kind == b"trun" else 0
        if max(samples, fragments) > file.size:
            return f"announces {max(samples, fragments):,} samples in {file.size:,} bytes"
    return ""


def _tables(file: MeteredFile, begin: int, end: int, depth: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and size of the content of each box that holds no other boxes."""
    place = begin
    while place + 8 <= end:
        file.seek(place)
        head = file.read(16)
        size, kind, least = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, least = int.from_bytes(head[8:16], "big"), 16
        if size == 0:  # to the end
            size = end - place
        if size < least:
            return
        inner, after = place + least, min(place + size, end)
        if kind in NESTS and depth < DEEPEST:
            yield from _tables(file, inner, after, depth + 1)
        else:
            yield kind, inner, after - inner
        place += size


def _samples(kind: bytes, head: bytes, file: MeteredFile, size: int) -> int:
    """Number of entries that a table announces."""
    if kind == b"stsz" and (constant := int.from_bytes(head[4:8], "big")):
        return constant * int.from_bytes(head[8:12], "big")
    if kind == b"trun":
        return int.from_bytes(head[4:8], "big")
    if kind in (b"stts", b"ctts"):
        file.seek(8 - len(head), 1)
        runs = file.read(min(8 * int.from_bytes(head[4:8], "big"), max(0, size - 8)) // 8 * 8)
        return int(np.frombuffer(runs[: len(runs) // 8 * 8], ">u4")[::2].sum(dtype=np.uint64))
    return 0
