"""Decoder for the bytes of one JSON object, within bounds of size, depth and count."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import Any, TypeAlias, cast

from .error_texts import shorten
from .errors import RequestError

MAX_BYTES = 64 * 2**20
"""Largest text, in bytes."""
MAX_VALUES = 1_000_000
"""Most values in one text, counted by its commas."""
MAX_DEPTH = 64
"""Most lists and objects inside one another."""
SURROGATE = re.compile("[\ud800-\udfff]")

Fields: TypeAlias = dict[str, Any]


def parse_object(text: bytes) -> Fields:
    """Decode one JSON object. `check_values` checks its values.

    Args:
        text: UTF-8, with or without a byte order mark.

    Raises:
        RequestError: the text is too large or too deep, no UTF-8, no JSON, no object, or names a field twice.
    """
    if len(text) > MAX_BYTES:
        raise RequestError(
            f"The request has more than {MAX_BYTES:,} bytes. Give media as files instead of writing them into it."
        )
    if text.count(b",") >= MAX_VALUES:
        raise RequestError(
            f"The request holds {text.count(b','):,} commas; {MAX_VALUES:,} values are the limit. Leave out what is "
            "no text and no medium."
        )
    try:
        decoded = text.removeprefix(codecs.BOM_UTF8).decode()
        value: object = json.loads(decoded, object_pairs_hook=_object)
    except RequestError:
        raise
    except RecursionError as error:
        raise RequestError(_too_deep("The request")) from error
    except UnicodeDecodeError as error:
        raise RequestError(
            f"The request is not UTF-8: byte {error.start} is 0x{text[error.start]:02X}. Convert it, for example with: "
            "iconv -f LATIN1 -t UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        near = error.doc[max(0, error.pos - 20) : error.pos + 20]
        raise RequestError(f"The request is not JSON: {error.msg} at character {error.pos}, near {near!r}.") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise RequestError("The request holds a number that is too long. Write it as a text.") from error
    if not isinstance(value, dict):
        raise RequestError(
            f'The request is {_kind(value)}. A request is an object: {{"prompt": ..., "responses": [...]}}.'
        )
    return cast("Fields", value)


def check_values(fields: Fields) -> None:
    """Refuse values that no JSON text, tokenizer or result can hold.

    Raises:
        RequestError: there are too many values; or one, whose field is named, is nested too deeply, no finite number,
            a whole number beyond 64 bits, or a text that is not Unicode.
    """
    waiting: list[tuple[str, object, int]] = [("", fields, 1)]
    seen = 0
    while waiting:
        name, value, depth = waiting.pop()
        seen += 1
        if seen > MAX_VALUES:
            raise RequestError(
                f"The request holds more than {MAX_VALUES:,} values, which are the limit. Leave out what is no text "
                "and no medium."
            )
        if isinstance(value, str):
            _check_text(value, name)
        elif isinstance(value, float) and not math.isfinite(value):
            raise RequestError(f"{name} is {value}, or too large for a number. Give a finite number, or null.")
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise RequestError(f"{name} is the number {shorten(str(value), 30)}, beyond 64 bits. Write it as a text.")
        elif isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                raise RequestError(_too_deep(shorten(name)))
            waiting += [(where, inner, depth + 1) for where, inner in _inside(name, cast("Any", value))]


def _inside(name: str, value: Fields | list[Any]) -> Iterator[tuple[str, object]]:
    if isinstance(value, list):
        yield from ((f"{name}[{place}]", inner) for place, inner in enumerate(value))
        return
    for key, inner in value.items():
        _check_text(key, f"The name of a field{f' in {name}' if name else ''}")
        yield f"{name}.{shorten(key, 40)}" if name else shorten(key, 40), inner


def _check_text(text: str, name: str) -> None:
    if not text.isascii() and (found := SURROGATE.search(text)):
        raise RequestError(
            f"{name} holds a lone surrogate U+{ord(found[0]):04X} at character {found.start()}, which is no character. "
            "Remove it, or decode the source with errors='replace'."
        )


def _object(pairs: list[tuple[str, Any]]) -> Fields:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in value if names.count(name) > 1)
        raise RequestError(
            f"The request has the field {shorten(repr(twice), 60)} twice in one object. Leave one of them out."
        )
    return value


def _too_deep(what: str) -> str:
    return f"{what} is nested more than {MAX_DEPTH} deep. Leave out what is no part of the request."


def _kind(value: object) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "null")
