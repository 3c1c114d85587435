"""Files of requests: one JSON object a line, plain or compressed with gzip or zstd."""

from __future__ import annotations

import codecs
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from .codec import Line, Reading, split, to_line, to_request
from .errors import RequestError
from .request import Request
from .sources import policy_of_files
from .strict_json import MAX_BYTES, Fields, check_values, parse_object

GZIP = b"\x1f\x8b"
ZSTD = b"(\xb5/\xfd"
SKIPPABLE = b"*M\x18"
"""Second to fourth byte of a frame that readers of zstd skip, as some tools write first."""
ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
    b"{\0\0\0": "UTF-32LE",
    b"\0\0\0{": "UTF-32BE",
    b"{\0": "UTF-16LE",
    b"\0{": "UTF-16BE",
}
"""Byte order marks of encodings other than UTF-8."""
ARCHIVES = {
    b"PK\3\4": "a zip archive; unpack it",
    b"\xfd7zXZ": "compressed with xz; unpack it with xz -d, or use gzip",
    b"BZh": "compressed with bzip2; unpack it with bzip2 -d, or use gzip",
    b"PAR1": "a Parquet file; write its rows as JSON lines",
}
LOOKED_AT = 2**20
"""Bytes within which an object of many lines is looked for."""


@dataclass(frozen=True)
class Numbered:
    """One line of a file."""

    number: int
    text: bytes
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.text).hexdigest()[:16])


@dataclass(frozen=True)
class Entry:
    """Content of one line."""

    number: int
    digest: str
    request: Request | Exception
    """Request of the line, or the error in it."""
    rankings: Sequence[float] | None = None
    """[N] 1 = best."""
    id: str | int | None = None
    """``id`` of the request, also of a malformed line where it can be read."""
    metadata: Any = None
    ignored: tuple[str, ...] = ()
    """Ignored fields, as the reading asked for."""


class _Rejoined:
    """Stream whose beginning was read before."""

    def __init__(self, begin: bytes, rest: BinaryIO):
        self._begin, self._rest = io.BytesIO(begin), rest

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes, or all."""
        return self._begin.read() + self._rest.read() if size < 0 else self._begin.read(size) or self._rest.read(size)


def read_lines(stream: BinaryIO, name: str) -> list[Numbered]:
    """Lines of a file of requests; blank ones are skipped. A line that is too long is cut to its beginning.

    Args:
        stream: the file, open at its beginning.
        name: name of the file in errors.

    Raises:
        RequestError: the whole file has another form, such as UTF-16 or one JSON array; the text says how to convert
            it.
    """
    return list(iter_lines(stream, name))


def iter_lines(stream: BinaryIO, name: str) -> Iterator[Numbered]:
    """Lines of `read_lines`, one after the other, so that a file of any size takes little memory.

    Args:
        stream: the file, open at its beginning.
        name: name of the file in errors.

    Raises:
        RequestError: the file has another form, or is damaged; lines before the damage have been given.
    """
    first = stream.readline(MAX_BYTES + 1)
    if is_zstd(first):
        from ._zstd import unpack

        packed = unpack(cast("BinaryIO", _Rejoined(first, stream)), name)
        yield from _numbered(packed.readline(MAX_BYTES + 1), packed, name)
    elif first.startswith(GZIP):
        yield from _of_gzip(cast("BinaryIO", _Rejoined(first, stream)), name)
    else:
        yield from _numbered(first, stream, name)


def is_zstd(begin: bytes) -> bool:
    """Whether a file that begins in this way is compressed with zstd."""
    return begin.startswith(ZSTD) or (begin[1:4] == SKIPPABLE and begin[0] >> 4 == 5)


def _of_gzip(stream: BinaryIO, name: str) -> Iterator[Numbered]:
    import gzip
    import zlib

    packed = cast("BinaryIO", gzip.GzipFile(fileobj=stream))
    try:
        yield from _numbered(packed.readline(MAX_BYTES + 1), packed, name)
    except (EOFError, OSError, zlib.error) as error:
        raise RequestError(f"{name} is a damaged gzip file: {error}. Make it again.") from error


def read_entry(line: Numbered, reading: Reading) -> Entry:
    """Decode a line. Nothing that may be wrong with it is raised."""
    try:
        fields = parse_object(line.text)
    except Exception as error:
        return Entry(line.number, line.digest, error)
    return read_fields(line.number, line.digest, fields, reading)


def read_fields(number: int, digest: str, fields: Fields, reading: Reading) -> Entry:
    """Decode the fields of a request. Nothing that may be wrong with them is raised.

    Args:
        number: number of the line or row.
        digest: hash of its content.
        fields: values that JSON can hold; media may be bytes too, or structs of ``bytes`` and ``path``.
        reading: settings.
    """
    try:
        said = to_line(fields, Line, reading.ignore)
    except Exception as error:
        return Entry(number, digest, error, id=readable_id(fields))
    try:
        request: Request | Exception = to_request(said, reading)
    except Exception as error:
        request = error
    ignored = tuple(split(fields, Line, reading.ignore)[1])
    return Entry(number, digest, request, said.rankings, said.id, said.metadata, ignored)


def read_entries(file: Path, reading: Reading | None = None, most: int | None = None) -> list[Entry]:
    """Decode the lines of a file, or the first ``most`` of them, each a request. Files of media are not opened.

    Args:
        file: the file of requests.
        reading: None for media in the folder of the file.
        most: most lines that are read.

    Raises:
        RequestError: a line is not a request; the text names the file and the first such line.
    """
    reading = reading or Reading(policy_of_files(file.parent))
    with file.open("rb") as stream:
        lines = read_lines(stream, str(file))[:most]
    entries: list[Entry] = []
    for line in lines:
        entry = read_entry(line, reading)
        if isinstance(entry.request, Exception):
            raise RequestError(f"{file}, line {line.number}: {entry.request}") from entry.request
        entries.append(entry)
    return entries


def read_requests(file: Path, most: int | None = None, reading: Reading | None = None) -> dict[int, Request]:
    """Requests of `read_entries`, by line number."""
    entries = read_entries(file, reading, most)
    return {entry.number: entry.request for entry in entries if isinstance(entry.request, Request)}


def readable_id(fields: Fields) -> str | int | None:
    """``id`` of an object in which something else may be wrong; None where none can be read."""
    try:
        check_values({"id": fields.get("id")})
        return msgspec.convert(fields.get("id"), str | int | None)
    except (RequestError, msgspec.ValidationError):
        return None


def _numbered(first: bytes, rest: BinaryIO, name: str) -> Iterator[Numbered]:
    _check_encoding(first, name)
    texts = (text for piece in _pieces(first.removeprefix(codecs.BOM_UTF8), rest) for text in piece.splitlines())
    lines = (Numbered(number, text) for number, text in enumerate(texts, 1) if text.strip())
    head: list[Numbered] = []
    size = 0
    for line in lines:
        head.append(line)
        if size >= LOOKED_AT:  # one line more than is looked at shows that the file goes on
            break
        size += len(line.text)
    _check_form(head, name)
    yield from head
    yield from lines


def _pieces(piece: bytes, rest: BinaryIO) -> Iterator[bytes]:
    """Split the file at line feeds; a line that is too long is cut to its beginning."""
    while piece:
        yield piece
        while piece and not piece.endswith(b"\n"):
            piece = rest.readline(MAX_BYTES)
        piece = rest.readline(MAX_BYTES + 1)


def _check_encoding(text: bytes, name: str) -> None:
    for begin, encoding in ENCODINGS.items():
        if text.startswith(begin):
            raise RequestError(f"{name} is {encoding}. Convert it: iconv -f {encoding} -t UTF-8 {name} > utf8.jsonl")
    for begin, told in ARCHIVES.items():
        if text.startswith(begin):
            raise RequestError(f"{name} is {told}.")


def _check_form(lines: Sequence[Numbered], name: str) -> None:
    """Refuse a file that is one JSON array, or whose objects extend over many lines."""
    if not lines or not (begin := lines[0].text.lstrip()[:1]) or begin not in b"{[":
        return
    alone = _ends(lines[0].text) is not None
    if begin == b"[" and (len(lines) == 1 if alone else _goes_on(lines)):
        raise RequestError(f"{name} holds one JSON array. Convert it to JSON lines: jq -c '.[]' {name} > lines.jsonl")
    if begin == b"{" and not alone and _goes_on(lines):
        raise RequestError(
            f"{name} has JSON objects of several lines. Convert it to one object a line: jq -c . {name} > lines.jsonl"
        )


def _goes_on(lines: Sequence[Numbered]) -> bool:
    """Whether the first lines together are one JSON value."""
    size, count = 0, 0
    while count < len(lines) and size < LOOKED_AT:
        size, count = size + len(lines[count].text), count + 1
    if (end := _ends(b"\n".join(line.text for line in lines[:count]))) is not None:
        return end > len(lines[0].text)
    return count < len(lines) and lines[0].text.strip() in (b"{", b"[")


def _ends(text: bytes) -> int | None:
    """End of the JSON value with which a text begins; None where there is none."""
    try:
        return json.JSONDecoder().raw_decode(text.decode("utf-8", "replace").lstrip())[1]
    except (ValueError, RecursionError):
        return None
