"""Rows of the published files of a benchmark -> items, or refusals that say what is wrong with a row."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yoj.runtime.error_texts import shorten
from yoj.runtime.images import is_file
from yoj.runtime.rows import Row, read_rows

from .._errors import EvaluationError
from .._items import Item, Refusal
from ._base import FieldMap

SHARD = re.compile(r"(.*-)(\d{5})-of-(\d{5})(\..*)")
"""Name of one of several files that hold a table together."""
TABLES_OF_TEXT = {".tsv": "\t", ".csv": ","}


@dataclass(frozen=True)
class Schema:
    """Form of the files of a benchmark."""

    title: str
    """Name of the benchmark in errors."""
    files: tuple[str, ...]
    """Patterns of its files below a given folder; those of the first pattern that any has are read."""
    required: tuple[str, ...]
    """Fields without which a file is another one."""
    optional: tuple[str, ...] = ()
    """Fields that a field map may rename beside the required ones."""
    advice: str = ""
    """Advice about other forms of the same benchmark, for the error about a missing field."""
    rows: Callable[[Path], Iterator[Row]] = read_rows
    """Function from a file to its rows."""
    one_file: bool = False
    """Whether of several files in a folder, which are no parts of one table, one must be named."""
    one_of: tuple[str, ...] = ()
    """Optional fields of which the first row has one."""


class RowError(Exception):
    """Fault of one row, which becomes a refusal."""

    def __init__(self, kind: str, text: str):
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class NativeRow:
    """Row of a published file, with checks of its values."""

    number: int
    """Number of the row in its file, from 1."""
    fields: Mapping[str, Any]
    """Values by the names of the file."""
    folders: tuple[Path, ...]
    """Folders at which paths of media may begin; the first that has the file is taken."""
    renamed: FieldMap = field(default_factory=dict[str, str])

    def value(self, name: str) -> Any:
        """Value of a field, by the name that yoj knows it by; None where it is absent or null."""
        return self.fields.get(self.renamed.get(name, name))

    def named(self, name: str) -> str:
        """Name of a field in errors."""
        there = self.renamed.get(name, name)
        return there if there == name else f"{there} (the {name})"

    def plain(self) -> dict[str, Any]:
        """Fields without those that hold media, which no JSON can."""
        return {name: value for name, value in self.fields.items() if not isinstance(value, bytes | dict)}

    def text(self, name: str) -> str:
        """Text of a field.

        Raises:
            RowError: the field is absent or no text.
        """
        if (value := self.value(name)) is None:
            raise RowError("missing field", f"{self.named(name)} is absent or null; it holds a text")
        if not isinstance(value, str):
            raise RowError("wrong type", f"{self.named(name)} is {told(value)}; it holds a text")
        return value

    def prompt(self, name: str) -> str:
        """Text of a prompt, as it stands.

        Raises:
            RowError: the field is absent, no text, or has nothing but white space.
        """
        if not (text := self.text(name)).strip():
            raise RowError("empty prompt", f"{self.named(name)} is empty")
        return text

    def response(self, name: str) -> str:
        """Text of a response, as it stands.

        Raises:
            RowError: the field is absent, no text, or has nothing but white space.
        """
        return _filled(self.text(name), self.named(name))

    def responses(self, name: str) -> list[str]:
        """Texts of a list of responses, as they stand.

        Raises:
            RowError: the field is no list of texts, or one has nothing but white space.
        """
        values = self.listed(name)
        for place, value in enumerate(values):
            if not isinstance(value, str):
                raise RowError("wrong type", f"{self.named(name)}[{place}] is {told(value)}; it holds a text")
            _filled(value, f"{self.named(name)}[{place}]")
        return values

    def listed(self, name: str) -> list[Any]:
        """Values of a list.

        Raises:
            RowError: the field is absent or no list.
        """
        if (value := self.value(name)) is None:
            raise RowError("missing field", f"{self.named(name)} is absent or null; it holds a list")
        if not isinstance(value, list):
            raise RowError("wrong type", f"{self.named(name)} is {told(value)}; it holds a list")
        return list[Any](value)

    def identifier(self, name: str) -> str:
        """Text or whole number by which the benchmark names a row, as a text.

        Raises:
            RowError: the field is absent, or neither.
        """
        value = self.value(name)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise RowError("missing id", f"{self.named(name)} is {told(value)}; it holds the row's name")
        return str(value)

    def image(self, name: str) -> bytes | Path:
        """Image of a field: the bytes of its file, or a file that is there. It is not decoded.

        Raises:
            RowError: there is no image, no such file, or the value names none.
        """
        value = self.value(name)
        if isinstance(value, dict):
            record: dict[str, Any] = value
            value = record.get("bytes") or record.get("path")
        if isinstance(value, bytes) and value:
            return value
        return self._found(value, name, "image", is_file)

    def video(self, name: str) -> Path:
        """Video file or folder of frames of a field, which is there. It is not decoded.

        Raises:
            RowError: there is no such file or folder, or the value names none.
        """
        return self._found(self.value(name), name, "video", lambda path: is_file(path) or _is_folder(path))

    def _found(self, value: object, name: str, kind: str, there: Callable[[Path], bool]) -> Path:
        if value is None or value in ("", b""):
            raise RowError(f"missing {kind}", f"{self.named(name)} is absent or empty; it holds the {kind}")
        if not isinstance(value, str):
            raise RowError("wrong type", f"{self.named(name)} is {told(value)}; it holds the {kind}")
        # Links may lead anywhere, as those in the cache of the Hugging Face hub do; texts of a file may not.
        if Path(value).is_absolute() or ".." in Path(value).parts:
            raise RowError(
                f"missing {kind}", f"{self.named(name)} is {shorten(value)!r}, outside of the benchmark's folder"
            )
        for folder in self.folders:
            if there(folder / value):
                return folder / value
        looked = " nor in ".join(map(str, self.folders))
        raise RowError(f"missing {kind}", f"{self.named(name)} is {shorten(value)!r}, which is not in {looked}")


def read_items(
    given: Path, schema: Schema, renamed: FieldMap, make: Callable[[NativeRow], Item]
) -> Iterator[Item | Refusal]:
    """Read the items of a benchmark.

    Args:
        given: its file, or the folder that holds it.
        schema: form of the file.
        renamed: names of fields in this file, where they differ from the schema's.
        make: function from a row to its item, which raises `RowError` where the row is faulty.

    Raises:
        EvaluationError: there is no such file, it has another schema, or no rows; a field map names no field.
        RequestError: a file cannot be read.
    """
    check_field_map(renamed, (*schema.required, *schema.optional), schema.title)
    files = find_files(given, schema)
    seen = dict[str, str]()
    first = True
    for file in files:
        folders = tuple(dict.fromkeys((file.parent, given if given.is_dir() else file.parent)))
        for row in schema.rows(file):
            if first:
                _check_schema(row, file, schema, renamed)
            first = False
            place = f"{file.name}, row {row.number}"
            native = NativeRow(row.number, _fields(row), folders, renamed)
            yield _item_of(row, native, schema, make, seen, place)
    if first:
        raise EvaluationError(f"{_listed(files)}: no rows of {schema.title}. Fetch the benchmark again.")


def _item_of(
    row: Row, native: NativeRow, schema: Schema, make: Callable[[NativeRow], Item], seen: dict[str, str], place: str
) -> Item | Refusal:
    """Item of a row, or the reason for which there is none. ``seen`` holds the places of the items so far, by key."""
    try:
        if isinstance(row.fields, str):
            raise RowError("unreadable", row.fields)
        if missing := _missing(row.fields, schema, native.renamed):
            raise RowError("missing field", f"the field {_quoted(missing[0], native.renamed)} is absent")
        item = make(native)
        if item.key in seen:
            raise RowError("duplicate", f"the row is the same item as {seen[item.key]}")
    except RowError as fault:
        identifier = native.value("id") or native.value("ID")
        named = str(identifier) if isinstance(identifier, str | int) else None
        return Refusal(row.number, named, fault.kind, f"{place}: {fault}")
    seen[item.key] = place
    return item


def check_field_map(renamed: FieldMap, known: Sequence[str], title: str) -> None:
    """Refuse a field map that renames what is no field.

    Raises:
        EvaluationError: a name is not known.
    """
    if unknown := sorted(set(renamed) - set(known)):
        raise EvaluationError(
            f"--field renames {unknown[0]!r}, which is none of the fields of {title}: {', '.join(known)}."
        )


def find_files(given: Path, schema: Schema) -> list[Path]:
    """Files of a benchmark: the given one, or those in a folder that have the published names.

    Raises:
        EvaluationError: there are none, one of several that belong together is missing, or the file is a table of text.
    """
    if not given.is_dir():
        if not is_file(given):
            raise EvaluationError(f"{given}: no such file or folder. Give the file or the folder of {schema.title}.")
        return [given]
    found = next((files for pattern in schema.files if (files := sorted(given.glob(pattern)))), [])
    if not found:
        raise EvaluationError(
            f"{given} has no file of {schema.title}; looked for {', '.join(schema.files)}. Give the file itself, or "
            "the folder as it was published."
        )
    for file in found:
        _check_shards(file, found)
    if schema.one_file and len(found) > 1 and not all(SHARD.fullmatch(file.name) for file in found):
        names = shorten(", ".join(str(file.relative_to(given)) for file in found), 200)
        raise EvaluationError(f"{given} has several files that may hold {schema.title}: {names}. Give one of them.")
    return found


def _check_shards(file: Path, found: Sequence[Path]) -> None:
    if not (match := SHARD.fullmatch(file.name)):
        return
    names = {other.name for other in found}
    whole = (f"{match[1]}{number:05d}-of-{match[3]}{match[4]}" for number in range(int(match[3])))
    if missing := [name for name in whole if name not in names]:
        raise EvaluationError(f"{file.parent} lacks {missing[0]}, a part of the table of {file.name}. Fetch it too.")


def _check_schema(row: Row, file: Path, schema: Schema, renamed: FieldMap) -> None:
    """Refuse a file whose first row is of another schema."""
    if separator := TABLES_OF_TEXT.get(file.suffix.lower()):
        with file.open(encoding="utf-8", errors="replace") as stream:
            names = stream.readline().rstrip("\r\n").split(separator)
    elif isinstance(row.fields, str):
        raise EvaluationError(f"{file}, row {row.number}, is no row of {schema.title}: {row.fields} {schema.advice}")
    else:
        names = list(row.fields)
    missing = _missing(names, schema, renamed)
    others = [renamed.get(name, name) for name in schema.one_of]
    if others and not any(name in names for name in others):
        missing.append(others[0])
    if missing:
        raise EvaluationError(
            f"{file} has another schema than {schema.title}: the field {_quoted(missing[0], renamed)} is missing. It "
            f"has {shorten(', '.join(names), 300)}. {schema.advice}".rstrip()
        )
    if separator:
        raise EvaluationError(f"{file} is a table of text, which is not read. Give JSON lines or Parquet.")


def _missing(names: Mapping[str, Any] | Sequence[str], schema: Schema, renamed: FieldMap) -> list[str]:
    return [there for name in schema.required if (there := renamed.get(name, name)) not in names]


def _quoted(there: str, renamed: FieldMap) -> str:
    """Name of a field of a file in errors, with the option that it came from."""
    given = next((f"--field {name}={own}" for name, own in renamed.items() if own == there), "")
    return f"{there!r}, which {given} names," if given else repr(there)


def _fields(row: Row) -> Mapping[str, Any]:
    return {} if isinstance(row.fields, str) else row.fields


def key_of(*parts: object) -> str:
    """Name of an item by what it holds: a digest, which is the same on every machine."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True, default=str).encode()).hexdigest()[:20]


def told(value: object) -> str:
    """Kind and beginning of a value, for an error."""
    return "null" if value is None else f"{type(value).__name__} {shorten(repr(value), 40)}"


def _filled(text: str, name: str) -> str:
    if not text.strip():
        raise RowError("empty response", f"{name} is empty")
    return text


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # longer than a name may be, or with a null byte
        return False


def _listed(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files[:3])) + (" ..." if len(files) > 3 else "")
