"""Prompts and completions in the form of chat templates, as trainers hold them, in the form of a request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yoj.runtime import Image, RequestError, YojError
from yoj.runtime.error_texts import shorten

from ._kinds import is_array, is_fields, is_list

NO_VIDEOS = (
    "Videos are not read from the rows of a trainer, and a judge that is not shown them would reward blindly. Leave "
    "them out, or write a reward function around yoj.integrations.GroupReward, whose requests may have a video."
)
NO_PICTURES = hashlib.sha256().digest()
"""``pictures_digest`` of a row without pictures."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif")
"""Endings of names of pictures."""
LONGEST_NAME = 4096
"""Most characters of a path that are looked at."""
NOT_READ = "Parts are texts, {'type': 'text', 'text': ...} or {'type': 'image', 'image': ...}; give one of these."


@dataclass(frozen=True)
class TrainerRow:
    """One completion of a trainer, and what it answers."""

    prompt: Any
    """Prompt of a request: a text, or a conversation whose pictures stand in it."""
    images: tuple[Any, ...]
    """Pictures that stand before the prompt's first text."""
    response: Any
    """Response of a request; the reason where the completion cannot be read."""
    texts_digest: bytes
    """Hash of the prompt without its pictures."""
    pictures_digest: bytes
    """Hash of the pictures, by their content."""

    @property
    def error(self) -> YojError | None:
        """Reason for which the row cannot be judged; None where it can."""
        return next((one for one in (self.prompt, self.response) if isinstance(one, YojError)), None)


def read_row(prompt: Any, completion: Any, pictures: Sequence[Any]) -> TrainerRow:
    """Read one row.

    Args:
        prompt: a text, or messages with ``role`` and ``content``.
        completion: a text, or messages of which the last is the assistant's answer.
        pictures: pictures of the row's column. Trainers put the same ones into the messages too, where they count once.
    """
    texts, placed = hashlib.sha256(), [_source(part) for part in _image_parts(prompt)]
    _hash_texts(texts, prompt)
    column = [found for picture in pictures if (found := _unwrapped(picture)) is not None]
    # Each object once: the column's pictures are mostly the very ones of the prompt, and large.
    objects = {id(one): one for one in (*placed, *column) if one is not None}
    shown = hashlib.sha256()
    try:
        digests = {key: _digest(one) for key, one in objects.items()}
        shown.update(b"".join(digests[id(one)] for one in (*placed, *column) if one is not None))
        content, images = _content_of(prompt, placed, column, digests)
    except YojError as error:
        content, images = error, ()
    try:
        response = read_completion(completion)
    except YojError as error:
        response = error
    return TrainerRow(content, images, response, texts.digest(), shown.digest())


def holds_pictures(value: Any) -> bool:
    """Whether a cell of a table holds a picture, or a list of them; a path or URL by the ending of its name."""
    if is_list(value):  # of numbers, as tokens are, there are very many
        return any(holds_pictures(one) for one in value if not isinstance(one, int | float))
    if isinstance(value, str | Path):
        name = str(value)[:LONGEST_NAME].lower()
        return name.startswith("data:image/") or name.partition("?")[0].endswith(SUFFIXES)
    if is_array(value):
        return value.dtype == np.uint8 and value.ndim == 3
    if is_fields(value):
        return {*value} == {"bytes", "path"} and _unwrapped(value) is not None
    from PIL import Image as Pillow

    return isinstance(value, Pillow.Image)


def read_completion(completion: Any) -> Any:
    """Read the response that a completion is: a text, or texts and pictures in a row.

    Of several messages, which rollouts with tools have, it is the last, if that is an answer.

    Raises:
        RequestError: the completion ends without the assistant's answer, such as with the call of a tool.
    """
    if isinstance(completion, str):
        return completion
    if not is_list(completion) or not completion:
        raise RequestError(f"A completion is {shorten(repr(completion), 80)}; give a text, or a list of messages.")
    message = _given(last) if is_fields(last := completion[-1]) else {}
    role, content = message.get("role"), message.get("content")
    if role != "assistant" or content is None or message.get("tool_calls"):
        what = "calls a tool" if message.get("tool_calls") else f"is of the role {role!r} and has {_kind(content)}"
        raise RequestError(
            f"A completion of {len(completion)} messages has no final answer: its last message {what}. A judge reads "
            "the last text of the assistant alone; allow more tool calls or tokens, or give such groups no reward."
        )
    if isinstance(content, str):
        return content
    if not is_list(content):
        raise RequestError(f"The content of a completion is {_kind(content)}; give a text, or a list of parts.")
    return [_part(part, iter(())) for part in content]


def _content_of(
    prompt: Any, placed: Sequence[Any], column: Sequence[Any], digests: Mapping[int, bytes]
) -> tuple[Any, tuple[Any, ...]]:
    """Prompt and short form of a request.

    Raises:
        RequestError: the column and the messages hold different pictures, or another number than there are places; or
            the prompt holds what is neither text nor a picture.
    """
    if not is_list(prompt):
        return prompt, tuple(column)
    places = sum(one is None for one in placed)
    if places and places != len(column):
        raise RequestError(f"The prompt has places for {places} pictures, and the row's column has {len(column)}.")
    if placed and not places:
        there = {digests[id(one)] for one in placed}
        if missing := sum(digests[id(one)] not in there for one in column):
            raise RequestError(
                f"{missing} of the {len(column)} pictures in the row's column are other ones than the {len(placed)} in "
                "its prompt. Give pictures in one of them, or the same in both."
            )
    waiting = iter(column)
    turns: list[Any] = [
        {"role": message.get("role"), "content": _parts(message.get("content"), waiting)}
        if is_fields(message)
        else _text_part(message)
        for message in prompt
    ]
    return turns, () if placed else tuple(column)


def _parts(content: Any, waiting: Iterator[Any]) -> Any:
    return [_part(part, waiting) for part in content] if is_list(content) else content


def _part(part: Any, waiting: Iterator[Any]) -> Any:
    """Part of a request.

    Raises:
        RequestError: it is neither a text nor a picture.
    """
    if not is_fields(part):
        return _text_part(part)
    given = _given(part)
    kind = given.get("type")
    if kind == "text":
        return given.get("text")
    if kind == "video":
        raise RequestError(f"A part has the type 'video'. {NO_VIDEOS}")
    if kind != "image":
        raise RequestError(f"A part has the type {kind!r}. {NOT_READ}")
    source = _source(given)
    return Image(next(waiting, None) if source is None else source)


def _text_part(part: Any) -> str:
    """Part that is a text by itself; of what is neither fields nor a text no two rows can be compared."""
    if not isinstance(part, str):
        raise RequestError(f"A part is a {type(part).__name__}. {NOT_READ}")
    return part


def _image_parts(prompt: Any) -> Iterator[Mapping[str, Any]]:
    """Parts of a conversation that are pictures or places for them."""
    for message in prompt if is_list(prompt) else ():
        content = message.get("content") if is_fields(message) else None
        for part in content if is_list(content) else ():
            if is_fields(part) and part.get("type") == "image":
                yield part


def _source(part: Mapping[str, Any]) -> Any:
    """Picture of a part; None for a place that the column fills."""
    return next((_unwrapped(part[key]) for key in ("image", "path", "url") if part.get(key) is not None), None)


def _unwrapped(picture: Any) -> Any:
    """Picture as a request takes it; tables hold one that was not decoded as its bytes or its path."""
    if is_fields(picture) and picture.keys() <= {"bytes", "path"}:
        return picture.get("bytes") or picture.get("path")
    return picture


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields without those that tables fill with None because other rows have them."""
    return {key: value for key, value in fields.items() if value is not None}


def _hash_texts(digest: Any, value: Any) -> None:
    """Feed all that a prompt says to a hash, but not its pictures."""
    if is_fields(value):
        fields = _given(value)
        media = fields.get("type") == "image"
        for key in sorted(fields.keys() - ({"image", "path", "url"} if media else set())):
            digest.update(f"{{{key}:".encode(errors="surrogatepass"))
            _hash_texts(digest, fields[key])
    elif is_list(value):
        digest.update(f"[{len(value)}".encode())
        for one in value:
            _hash_texts(digest, one)
    else:
        text = value if isinstance(value, str) else type(value).__qualname__
        digest.update(f"{len(text)}:{text}".encode(errors="surrogatepass"))


def _digest(picture: Any) -> bytes:
    """Hash of a picture's content, or of its path.

    Raises:
        RequestError: it is of a kind whose content is not known, such as an open file.
    """
    from PIL import Image as Pillow

    if isinstance(picture, Pillow.Image):
        said = (picture.mode, picture.size, picture.getpalette() if picture.mode == "P" else None)
        return hashlib.sha256(repr(said).encode() + picture.tobytes()).digest()
    if is_array(picture):
        return hashlib.sha256(repr((picture.shape, picture.dtype)).encode() + picture.tobytes()).digest()
    if isinstance(picture, bytes):
        return hashlib.sha256(picture).digest()
    if isinstance(picture, str | Path):
        return hashlib.sha256(str(picture).encode(errors="surrogatepass")).digest()
    raise RequestError(
        f"A picture is a {type(picture).__name__}, so that rows with others could not be told from it. Give a path, "
        "bytes, a PIL image or a uint8 array [H, W, 3]."
    )


def _kind(content: Any) -> str:
    return "no content" if content is None else f"a content of the type {type(content).__name__}"
