"""Requests to stop a run: SIGTERM, as schedulers and container runtimes send it, and SIGINT, Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ONE_REQUEST = 1.0
"""Seconds within which signals are one request: launchers and ``timeout`` pass on what the whole group has received
too."""


class Stopped(SystemExit):
    """End of a run that was asked to stop, with its last whole step in a checkpoint.

    The exit status is that of shells: 128 and the signal's number.
    """

    def __init__(self, number: int):
        super().__init__(128 + number)


class StopRequest:
    """Record of whether a signal has asked to stop.

    The first one is remembered, so that the run can come to a good end. Another one, later than `ONE_REQUEST`, ends
    the process at once.
    """

    def __init__(self) -> None:
        self.number = 0
        """Number of the signal; 0 for none."""
        self._since = 0.0
        self._at_once = False

    @contextmanager
    def listening(self) -> Generator[StopRequest]:
        """Handle the signals inside the block, where this is the main thread; ignored signals stay ignored."""
        main = threading.current_thread() is threading.main_thread()
        heard = [number for number in SIGNALS if main and signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._hear) for number in heard}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Generator[None]:
        """Raise `Stopped` as soon as a signal comes, for work that may be broken off anywhere."""
        self._at_once = True
        try:
            if self.number:
                raise Stopped(self.number)
            yield
        finally:
            self._at_once = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del frame
        now = time.monotonic()
        if not self.number:
            self.number, self._since = number, now
            name = signal.Signals(number).name
            # Not print: the signal may have come in the middle of one.
            os.write(2, f"{name}: the run stops after the work in hand; send it again to end at once.\n".encode())
        elif now - self._since > ONE_REQUEST:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self._at_once:
            raise Stopped(self.number)


def leave_to_parent(_: Any = None) -> None:
    """Ignore the signals in a process that loads data: its parent ends it when the run has stopped."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
