"""Rows of files that other tools wrote: JSON lines, JSON arrays, both also compressed with gzip, and Parquet."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from .errors import RequestError
from .lines import GZIP, read_lines
from .strict_json import Fields, parse_object

PARQUET = b"PAR1"
BLANK = " \t\r\n"


@dataclass(frozen=True)
class Row:
    """One object of a file, in whatever form."""

    number: int
    """Number of the line, or of the row in the array or table, from 1."""
    fields: Fields | str
    """Fields of the row, or the error in it."""


def read_rows(file: Path) -> Iterator[Row]:
    """Read the rows of a file. `parse_object` defines what a row of JSON may be.

    Raises:
        RequestError: the file cannot be read, has another form, or needs a package that is not there.
    """
    try:
        with file.open("rb") as stream:
            begin = stream.read(len(PARQUET))
            if begin == PARQUET:
                yield from _of_table(file)
                return
            text = begin + stream.read()
        if text.startswith(GZIP):
            text = gzip.decompress(text)
        if text.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
            yield from _of_array(text, file)
        else:
            yield from (_row(line.number, line.text) for line in read_lines(BytesIO(text), str(file)))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RequestError(f"{file} is a damaged gzip file: {error}. Make it again.") from error
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror or error}.") from error


def _of_array(text: bytes, file: Path) -> Iterator[Row]:
    """Items of a JSON array, each read by itself as a line would be."""
    try:
        array = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{file} is not UTF-8: byte {error.start} is 0x{text[error.start]:02X}. Convert it."
        ) from error
    decoder, place, number = json.JSONDecoder(), _skip(array, array.index("[") + 1), 0
    while array[place : place + 1] != "]":
        number += 1
        try:
            _, end = decoder.raw_decode(array, place)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{file} is a JSON array whose item {number} cannot be read: {error}.") from error
        yield _row(number, array[place:end].encode("utf-8", "surrogatepass"))
        place = _skip(array, end)
        if array[place : place + 1] == ",":
            place = _skip(array, place + 1)
        elif array[place : place + 1] != "]":
            raise RequestError(f"{file} is a JSON array that does not go on or end after item {number}.")
    if rest := array[place + 1 :].strip():
        raise RequestError(f"{file} has something behind its JSON array: {rest[:40]!r}. Give one array, or JSON lines.")


def _of_table(file: Path) -> Iterator[Row]:
    if importlib.util.find_spec("pyarrow") is None:
        raise RequestError(
            f"{file} is a Parquet file, which needs the package pyarrow: pip install pyarrow, or write its rows as "
            "JSON lines."
        )
    parquet = importlib.import_module("pyarrow.parquet")
    arrow = importlib.import_module("pyarrow")
    number = 0
    try:
        for batch in parquet.ParquetFile(file).iter_batches(batch_size=256):
            for fields in batch.to_pylist():
                number += 1
                yield Row(number, fields)
    except arrow.ArrowException as error:
        raise RequestError(f"{file} cannot be read as Parquet: {error}.") from error


def _row(number: int, text: bytes) -> Row:
    try:
        return Row(number, parse_object(text))
    except RequestError as error:
        return Row(number, str(error))


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] and text[place] in BLANK:
        place += 1
    return place
