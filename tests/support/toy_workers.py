"""Workers of a pool without a bundle, for the processes that tests start."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping

from yoj.runtime.bulk._children import Worker
from yoj.runtime.bulk._pool import Outcomes


def open_doubler(setup: int) -> Worker:
    """Worker that multiplies, and that some rows end, hurt or keep."""
    if setup < 0:
        raise ValueError(f"setup is {setup}")
    if setup == 666:
        os.kill(os.getpid(), signal.SIGKILL)
    if setup == 667:  # an error that no other process can be sent
        raise type("Local", (Exception,), {})("only here")

    def work(rows: Mapping[int, object]) -> Iterator[Outcomes]:
        outcomes: dict[int, object] = {}
        for position, row in rows.items():
            if row == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            elif row == "raise":
                raise RuntimeError("a fault of the worker")
            elif row == "sleep":
                time.sleep(60)
            outcomes[position] = row * setup
        yield Outcomes(outcomes, 0.5)

    return Worker(os.getpid(), work)
