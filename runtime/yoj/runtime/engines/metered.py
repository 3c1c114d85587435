"""Session whose runs are counted in seconds, and few at once."""

from __future__ import annotations

import threading
import time

from ..families import Arrays
from . import Session


class MeteredSession:
    """Session that lets few run at once, and measures how long any does; see `yoj.runtime.engines.Session`."""

    def __init__(self, session: Session, at_once: int):
        """Take over a session.

        Args:
            session: the session.
            at_once: most runs at once.
        """
        self._session = session
        self._room = threading.Semaphore(at_once)
        self._lock = threading.Lock()
        self._running, self._since, self._seconds = 0, 0.0, 0.0

    def run(self, role: str, inputs: Arrays) -> Arrays:
        """Run one graph when it is its turn."""
        with self._room:
            self._count(1)
            try:
                return self._session.run(role, inputs)
            finally:
                self._count(-1)

    def open(self, role: str) -> None:
        """Load one graph."""
        self._session.open(role)

    def close(self) -> None:
        """Release all memory."""
        self._session.close()

    def take_seconds(self) -> float:
        """Seconds since the last call in which any graph ran."""
        with self._lock:
            self._add()
            taken, self._seconds = self._seconds, 0.0
        return taken

    def _count(self, change: int) -> None:
        with self._lock:
            self._add()
            self._running += change

    def _add(self) -> None:
        now = time.perf_counter()
        self._seconds += now - self._since if self._running else 0.0
        self._since = now
