"""Sources of media: the name that a request gives -> a file that may be read, or bytes."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from .error_texts import shorten
from .errors import LimitError, MediaError

MAX_BYTES = 64 * 2**20
"""Largest medium in bytes that is not a file."""
TIMEOUT_S = 20.0
SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
ALPHABET = re.compile(r"[A-Za-z0-9+/=\s]*")
SHORTEST_BASE64 = 60
"""Length in characters from which a text may be base64; no picture is smaller, and few paths of that length have no
dot."""
SIGNATURES = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....(WEBP|AVI )|BM|II\*\0|MM\0\*|....ftyp|\x1aE\xdf\xa3", re.DOTALL
)
"""Beginnings of picture and video files."""


@dataclass(frozen=True)
class Policy:
    """Policy for the sources of media. By default media stand in the request itself."""

    root: Path | None = None
    """Folder in and below which files may be read; None for no files."""
    base: Path | None = None
    """Folder in which relative paths begin; None for ``root``."""
    data: bool = True
    """Whether data URLs and base64 are read."""
    hosts: frozenset[str] = frozenset()
    """Hosts, as names or ``name:port``, that http and https URLs may name. A host with a private address must be
    written as that address."""
    max_bytes: int = MAX_BYTES
    """Largest medium in bytes that is not a file."""
    timeout: float = TIMEOUT_S
    """Seconds in which a host must have sent a medium."""
    attachments: Mapping[str, bytes] = field(default_factory=dict[str, bytes], hash=False)
    """Files that came with the request, by the names that sources of the form ``cid:name`` give them."""

    def image(self, source: object, name: str) -> Path | bytes:
        """Find an image, or a frame, by the source that a request names.

        Args:
            source: a path, a ``file:``, ``data:``, ``http:`` or ``https:`` URL, ``cid:`` and the name of an attachment,
                base64 of a file, its bytes, or ``{"bytes": bytes or base64, "path": ...}``.
            name: name of the medium in errors.

        Returns:
            A file below ``root``, which may be missing, or the bytes of one.

        Raises:
            MediaError: there is no such source, or this policy does not allow it.
            LimitError: the medium has more than ``max_bytes``.
        """
        if isinstance(source, dict):
            source = self._record(cast("Mapping[str, Any]", source), name)
        if isinstance(source, bytes):
            if len(source) > self.max_bytes:
                raise LimitError(f"{name} has {len(source):,} bytes; {self.max_bytes:,} are the limit. Give a file.")
            return source
        if not isinstance(source, str):
            raise MediaError(f"{name} is {shorten(repr(source), 40)}; give a path, a URL, or base64 of a file.")
        if not source.strip():
            raise MediaError(f"{name} is an empty text; leave it out where there is none.")
        if source[:5].lower() == "data:":
            return self._data_url(source, name)
        if source[:4].lower() == "cid:":
            return self._attachment(source[4:], name)
        if scheme := SCHEME.match(source):
            return self._url(source, scheme[1].lower(), name)
        return self._base64(source, name) if is_base64(source) else self._file(source, name)

    def video(self, source: object, name: str) -> Path | bytes | list[Path | bytes]:
        """Find a video by the source that a request names: a file, a folder of frames, or a list of frames."""
        if isinstance(source, list):
            return [self.image(one, f"{name}[{k}]") for k, one in enumerate(cast("list[object]", source))]
        found = self.image(source, name)
        if isinstance(found, Path) and os.path.isdir(found):
            try:
                self._check_links(found, name)
            except OSError as error:
                raise MediaError(f"{name}: {found} cannot be listed: {error.strerror}.") from error
        return found

    def _record(self, record: Mapping[str, Any], name: str) -> object:
        """Source of a medium in the form of Hugging Face data sets."""
        given = {key: value for key, value in record.items() if value is not None}
        if not given or not given.keys() <= {"bytes", "path"}:
            told = shorten(", ".join(map(repr, given)) or "nothing", 80)
            raise MediaError(f'{name} holds {told}; give a path, or {{"bytes": base64}}, or {{"path": path}}.')
        if "bytes" not in given:
            return given["path"]
        if isinstance(given["bytes"], bytes):  # as tables hold them, and JSON cannot
            return given["bytes"]
        if not isinstance(given["bytes"], str):
            raise MediaError(f"{name}.bytes is no text; give the file's bytes in base64.")
        return self._base64(given["bytes"], f"{name}.bytes")

    def _data_url(self, url: str, name: str) -> bytes:
        head, comma, text = url.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise MediaError(
                f"{name} is the data URL {shorten(head, 60)!r}; give data:image/png;base64, and the base64 of a file."
            )
        return self._base64(text, name)

    def _base64(self, text: str, name: str) -> bytes:
        if not self.data:
            raise MediaError(f"{name} holds the medium itself, which is not allowed here. Give the path of a file.")
        if len(text) > self.max_bytes * 4 // 3 + 4:
            raise LimitError(
                f"{name} has {len(text):,} characters of base64; {self.max_bytes:,} bytes are the limit. Give a file."
            )
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise MediaError(f"{name} is no base64: {error}. Encode the bytes of the file again.") from error

    def _attachment(self, attachment: str, name: str) -> bytes:
        if attachment not in self.attachments:
            there = shorten(", ".join(self.attachments) or "none", 120)
            raise MediaError(
                f"{name} is the file {attachment!r}, which was not sent with the request; sent were {there}."
            )
        return self.attachments[attachment]

    def _url(self, url: str, scheme: str, name: str) -> Path | bytes:
        if scheme == "file":
            from urllib.parse import unquote, urlsplit

            parts = urlsplit(url)
            if parts.netloc not in ("", "localhost"):
                raise MediaError(f"{name} is on the host {parts.netloc!r}; write three slashes: file:///folder/a.png")
            return self._file(unquote(parts.path), name)
        if scheme not in ("http", "https"):
            raise MediaError(
                f"{name} is a {scheme} URL, {shorten(url)!r}; fetch it before, and give the path of the file."
            )
        from ._fetch import fetch

        return fetch(url, self.hosts, name, self.max_bytes, self.timeout)

    def _file(self, path: str, name: str) -> Path:
        if self.root is None:
            raise MediaError(f"{name} is a path, {shorten(path)!r}; files are not read here. Send it as a data URL.")
        real = _real((self.base or self.root) / path, name)
        self._check_inside(real, f"{name} is {shorten(path)!r}")
        return real

    def _check_links(self, folder: Path, name: str) -> None:
        """Refuse a folder of frames with a link that leads out of the root."""
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    self._check_inside(_real(Path(entry.path), name), f"{name} has the frame {entry.name!r}")

    def _check_inside(self, real: Path, told: str) -> None:
        assert self.root is not None
        root = Path(os.path.realpath(self.root))
        if not real.is_relative_to(root):
            raise MediaError(
                f"{told}, which lies outside of {root}, the folder that media may come from. Move it there, or name a "
                "folder that holds both: --media-root DIR."
            )


def is_base64(text: str) -> bool:
    """Whether a text is the base64 of a picture or a video rather than a path, judged by its beginning."""
    if len(text) < SHORTEST_BASE64 or not ALPHABET.fullmatch(text[:400]):
        return False
    try:
        return SIGNATURES.match(base64.b64decode(text[:SHORTEST_BASE64])) is not None
    except (binascii.Error, ValueError):
        return False


def _real(path: Path, name: str) -> Path:
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:  # a null byte
        raise MediaError(f"{name} is no path: {error}. Give the path of a file.") from error


def policy_of_files(folder: Path, root: Path | None = None, hosts: frozenset[str] = frozenset()) -> Policy:
    """Policy of a command that reads a file of requests.

    Args:
        folder: folder of the file.
        root: folder that media may come from; None for ``folder``. Relative paths begin at ``folder`` where that lies
            in ``root``, else at ``root``.
        hosts: allowed hosts; see `Policy`.
    """
    if root is None:
        return Policy(folder, hosts=hosts)
    inside = Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(root))
    return Policy(root, folder if inside else root, hosts=hosts)
