"""Progress that nobody watches."""

from __future__ import annotations


class Quiet:
    """See `yoj.export.bundle._config.Progress`."""

    def stage(self, name: str, bytes_to_write: int = 0) -> None: ...
    def advance(self, count: int) -> None: ...
    def note(self, text: str) -> None: ...
