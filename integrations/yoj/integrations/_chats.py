"""Prompts of trainers in the form that requests take: turns of role and content, media as paths, bytes or pictures."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from yoj.runtime import RequestError
from yoj.runtime.error_texts import shorten

KINDS = {"input_text": "text", "output_text": "text", "input_image": "image", "image_url": "image"}
"""Type of a part in the forms of servers -> its type in those of chat templates."""
FILE = "file://"


def turns(messages: Iterable[Any]) -> list[dict[str, Any]]:
    """Turns of a conversation, as `yoj.runtime.Request` takes them.

    Tables write fields that are None into every row, and frameworks add some of their own to media; both are left out.
    What else a turn holds stays, and the request refuses it: a judge cannot read calls of tools.

    Args:
        messages: mappings of ``role`` and ``content``, with parts of a chat template's or a server's form.

    Raises:
        RequestError: a turn is no mapping, or a medium is none.
    """
    out: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise RequestError(f"Turn {number} of the prompt is a {type(message).__name__}; give role and content.")
        turn = {str(name): value for name, value in cast("Mapping[object, Any]", message).items() if value is not None}
        out.append(turn | {"content": _content(turn.get("content", ""))})
    return out


def medium(value: Any) -> Any:
    """Source of a medium: what tables (``{"bytes", "path"}``) and servers (data URLs) wrap is unwrapped.

    Raises:
        RequestError: there is neither, or a data URL cannot be decoded.
    """
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        inner = next((fields[name] for name in ("bytes", "path", "url") if fields.get(name) is not None), None)
        if inner is None:
            raise RequestError(f"A medium has the fields {sorted(fields)}; give bytes, path or url.")
        return medium(inner)
    if not isinstance(value, str):
        return value
    if value.startswith(FILE):
        return value.removeprefix(FILE)
    if not value.startswith("data:"):
        return value
    head, _, text = value.partition(",")
    try:
        return base64.b64decode(text if head.endswith(";base64") else "!", validate=True)
    except binascii.Error as error:
        raise RequestError(f"A medium is {shorten(value, 60)!r}; a data URL must be in base64.") from error


def _content(content: Any) -> Any:
    if isinstance(content, str) or not isinstance(content, Sequence):
        return content
    parts = cast("Sequence[Any]", content)
    return [_part(cast("Mapping[str, Any]", part)) if isinstance(part, Mapping) else part for part in parts]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = KINDS.get(str(part.get("type")), part.get("type"))
    if kind == "text":
        return {"type": "text", "text": part.get("text")}
    if kind not in ("image", "video"):
        return {name: value for name, value in part.items() if value is not None}
    names = (str(kind), "image_url", "path", "url")
    source = next((part[name] for name in names if part.get(name) is not None), None)
    if source is None:
        raise RequestError(f"A part of the type {kind} has the fields {sorted(part)}; give {kind}.")
    return {"type": kind, str(kind): medium(source)}
