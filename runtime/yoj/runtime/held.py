"""Files that are opened once: the bytes that were hashed are the bytes that are read, whatever replaces the names."""

from __future__ import annotations

import hashlib
import mmap
import os
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def is_there(path: Path) -> bool:
    """Whether something has this name; a name that the system refuses, such as one too long, belongs to nothing."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


class HeldFile:
    """File that stays open for as long as this object lives.

    Another file that takes its name, as when a bundle is replaced, is not seen. What is written into the file itself
    is noticed by `changed`.
    """

    def __init__(self, file: Path):
        """Open the file.

        Raises:
            OSError: the file is not there or may not be read.
        """
        self.path = file
        self._stream = file.open("rb")
        self._state = self._look()

    @property
    def size(self) -> int:
        """Size in bytes when the file was opened."""
        return self._state[1]

    @cached_property
    def content(self) -> bytes:
        """Content of the file, read once."""
        self._stream.seek(0)
        return self._stream.read()

    @cached_property
    def view(self) -> NDArray[np.uint8]:
        """Content of the file, uint8 [bytes], mapped: memory is shared with whoever maps the file."""
        return np.frombuffer(self._map(mmap.ACCESS_READ), np.uint8)

    def private(self) -> NDArray[np.uint8]:
        """Content of the file, uint8 [bytes], mapped to be changed: what is written stays in this process."""
        return np.frombuffer(self._map(mmap.ACCESS_COPY), np.uint8)

    def sha256(self) -> str:
        """SHA-256 of the file in hexadecimal; of `content` where that was read."""
        if "content" in self.__dict__:
            return hashlib.sha256(self.content).hexdigest()
        self._stream.seek(0)
        return hashlib.file_digest(self._stream, "sha256").hexdigest()

    def changed(self) -> bool:
        """Whether the file was written into since it was opened."""
        return self._look() != self._state

    def forget_pages(self) -> None:
        """Give back the memory of those pages of `view` that were read; they are mapped again when read again."""
        if "view" in self.__dict__ and hasattr(mmap, "MADV_DONTNEED") and isinstance(self.view.base, mmap.mmap):
            self.view.base.madvise(mmap.MADV_DONTNEED)

    def _look(self) -> tuple[int, int]:
        found = os.fstat(self._stream.fileno())
        return found.st_mtime_ns, found.st_size

    def _map(self, access: int) -> mmap.mmap | bytes:
        if self.size == 0:  # cannot be mapped
            return b""
        return mmap.mmap(self._stream.fileno(), 0, access=access)


class HeldFiles:
    """Files of one folder by their paths in it, each opened when it is first asked for."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._files: dict[str, HeldFile] = {}

    def __getitem__(self, name: str) -> HeldFile:
        """Open file of this path.

        Raises:
            OSError: the file is not there or may not be read.
        """
        if name not in self._files:
            self._files[name] = HeldFile(self.folder / name)
        return self._files[name]

    def changed(self) -> list[str]:
        """Names of the open files that were written into since they were opened."""
        return [name for name, file in self._files.items() if file.changed()]
