"""Deaths of processes that this node remembers: what kills whoever reads it must not do so for ever."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Deaths:
    """Notes of what the processes of one run are busy with, from which those that died are known."""

    folder: Path

    def count(self, key: str) -> int:
        """Number of processes that died while they were busy with something, and that nobody finished after them."""
        return len(self._dead(key))

    @contextlib.contextmanager
    def busy(self, key: str) -> Generator[None]:
        """Note that this process is busy with something until the block ends, whether by an error or not.

        Args:
            key: name of what it is busy with, which can be a file's.
        """
        own = self.folder / key / str(os.getpid())
        _touch(own)
        try:
            yield
        finally:
            for note in (own, *self._dead(key)):
                note.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # another process is busy with the same
                own.parent.rmdir()

    def _dead(self, key: str) -> list[Path]:
        try:
            notes = [*(self.folder / key).iterdir()]
        except FileNotFoundError:
            return []
        return [note for note in notes if not _is_alive(int(note.name))]


def _touch(file: Path) -> None:
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            return file.touch()
        except FileNotFoundError:  # another process has just ended what it did with the same
            continue


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
