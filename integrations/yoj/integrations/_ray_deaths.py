"""Deaths of processes that this node remembers: what kills whoever reads it must not do so for ever."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Deaths:
    """Notes of what the processes of one run are busy with, from which those that died are known."""

    folder: Path

    @contextmanager
    def busy(self, key: str) -> Generator[int, None, None]:
        """Note that this process is busy with something until the block ends, however it ends.

        Args:
            key: name of what it is busy with, which can be a file's.

        Yields:
            Number of processes that died while they were busy with it.
        """
        notes = self.folder / key
        notes.mkdir(parents=True, exist_ok=True)
        dead = sum(not _is_alive(int(note.name)) for note in notes.iterdir())
        (notes / str(os.getpid())).touch()
        try:
            yield dead
        finally:
            shutil.rmtree(notes, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
