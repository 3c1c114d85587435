"""Uploads: bodies of the type multipart/form-data, a request beside the files that it names as ``cid:name``."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from yoj.runtime import Request, YojError
from yoj.runtime.error_texts import shorten
from yoj.runtime.errors import RequestError

from ._work import Rules

REQUEST = "request"
"""Name of the part that holds the JSON."""
MAX_PARTS = 1024
"""Most parts of one form."""


class WithRequests(Protocol):
    """Content of a body, which holds requests."""

    @property
    def requests(self) -> Sequence[Request | YojError]:
        """Requests that the body holds."""
        ...


R = TypeVar("R", bound=WithRequests)


class Uploads(Mapping[str, bytes]):
    """Files of one body by their names, and which of them were asked for."""

    def __init__(self, files: Mapping[str, bytes]):
        self._files = files
        self.unused = set(files)

    def __getitem__(self, name: str) -> bytes:
        content = self._files[name]
        self.unused.discard(name)
        return content

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def with_uploads(read: Callable[[bytes, Rules], R], content_type: str) -> Callable[[bytes, Rules], R]:
    """Let a function that reads JSON read a form, where the body is one.

    Args:
        read: function from JSON and rules to what the body holds.
        content_type: value of the header Content-Type, which says whether the body is a form, and names its boundary.

    Returns:
        Function from the form and rules to the same. It raises `RequestError` where the body is no such form, or holds
        a file that no request names. For all other bodies, ``read`` itself.
    """
    if not content_type.lower().startswith("multipart/"):
        return read

    def read_form(body: bytes, rules: Rules) -> R:
        parts = _parts(body, content_type)
        text = parts.pop(REQUEST, None)
        if text is None:
            told = shorten(", ".join(parts) or "nothing", 120)
            raise RequestError(
                f"The form has no part {REQUEST!r}, but {told}. Give the JSON in it, and each file in a part of its "
                f"own: -F {REQUEST}='{{...}}' -F photo=@photo.jpg"
            )
        uploads = Uploads(parts)
        policy = replace(rules.reading.policy, attachments=uploads)
        work = read(text, replace(rules, reading=replace(rules.reading, policy=policy)))
        if uploads.unused and not any(isinstance(one, YojError) for one in work.requests):
            raise RequestError(
                f"No request names the uploads {shorten(', '.join(sorted(uploads.unused)), 120)}. Name one as its "
                f'medium, "image": "cid:{min(uploads.unused)}", or leave it out.'
            )
        return work

    return read_form


def _parts(body: bytes, content_type: str) -> dict[str, bytes]:
    """Content of each part by its name."""
    from python_multipart import create_form_parser
    from python_multipart.exceptions import FormParserError

    parts: dict[str, bytes] = {}

    def keep(name: bytes | None, content: bytes) -> None:
        told = (name or b"").decode("utf-8", "replace")
        if not told or told in parts:
            raise RequestError(f"The form has {f'two parts {told!r}' if told else 'a part without a name'}.")
        if len(parts) == MAX_PARTS:
            raise RequestError(f"The form has more than {MAX_PARTS} parts. Send fewer files at once.")
        parts[told] = content

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        keep(file.field_name, file.file_object.read())

    # The body is in memory already: its files need not go to the disk.
    config = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
    try:
        parser = create_form_parser(
            {"Content-Type": content_type.encode("latin-1")},
            lambda part: keep(part.field_name, part.value or b""),
            on_file,
            config=config,
        )
        stream = io.BytesIO(body)
        while piece := stream.read(2**20):
            parser.write(piece)
        parser.finalize()
        parser.close()
    except FormParserError as error:
        raise RequestError(f"The body is no form of the type {shorten(content_type, 80)!r}: {error}.") from error
    if not body.rstrip().endswith(b"--"):  # the parser is content with less, and drops the last part
        raise RequestError(f"The form was cut off: it does not end with its boundary, after {len(body):,} bytes.")
    return parts
