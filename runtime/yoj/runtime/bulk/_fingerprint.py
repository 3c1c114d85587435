"""Facts by which the file of a shard is known again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from ._shards import ShardError


class Fingerprint(msgspec.Struct, frozen=True):
    """Facts about a file."""

    size: int
    modified_ns: int
    sha256: str


def fingerprint(file: Path) -> Fingerprint:
    """Read the facts of a file, the whole of which is read.

    Raises:
        ShardError: it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        found = file.stat()
    except OSError as error:
        raise ShardError(f"it cannot be read: {error.strerror or error}") from error
    return Fingerprint(found.st_size, found.st_mtime_ns, sha256)


def is_untouched(file: Path, before: Fingerprint) -> bool:
    """Whether neither the size nor the time of a file has changed. Its content is not read."""
    try:
        found = file.stat()
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (before.size, before.modified_ns)


def is_same(file: Path, before: Fingerprint) -> bool:
    """Whether a file has the same content, as far as its size and time, or else its SHA-256 say.

    Raises:
        ShardError: it cannot be read.
    """
    return is_untouched(file, before) or fingerprint(file).sha256 == before.sha256
