"""Processes that work for a parent, and end when it does.

A process is started with nothing but a pipe. It gets its setup through it, opens what it works with, says what it
found, and then answers tasks until the pipe is closed, which is also what happens when the parent is killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ..errors import EngineError

PATIENCE = 5.0
"""Seconds in which a process whose connection broke or was closed must have ended."""
CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Worker:
    """Work of a process."""

    told: Any
    """Message to the parent, that the worker is open."""
    work: Callable[[Any], Iterable[Any]]
    """Function from a task to its answers. It raises nothing: what it raises ends the process."""
    threads: int = 1
    """Number of tasks that are worked on at once."""


@dataclass(frozen=True)
class Failed:
    """Message to the parent, that the worker cannot be opened."""

    error: Exception


class Child:
    """Process as its parent sees it."""

    def __init__(self, name: str, opening: Callable[[Any], Worker]):
        """Start the process.

        Args:
            name: name of the process.
            opening: function of a module from the setup to a worker.
        """
        self.connection, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=serve, args=(theirs, opening), name=name, daemon=True)
        with _without_interrupts():
            self._process.start()
        theirs.close()

    @property
    def name(self) -> str:
        """Name of the process."""
        return self._process.name

    def send(self, content: Any) -> None:
        """Send a setup or a task. Where the process has ended, that is for whoever receives to notice."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(content)

    def receive(self) -> Any:
        """Next message of the process.

        Raises:
            EOFError: the process has ended.
        """
        try:
            return self.connection.recv()
        # Half a message of a process that was killed while it wrote.
        except (OSError, pickle.UnpicklingError) as error:
            raise EOFError from error

    def end(self) -> str:
        """Wait until the process has ended, make it end where it does not, and say how it ended."""
        self.connection.close()
        self._process.join(PATIENCE)
        self._process.kill()
        self._process.join()
        code = self._process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()


def serve(connection: Connection, opening: Callable[[Any], Worker]) -> None:
    """Work for the parent at the other end of the connection, in the process that was started for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the others
    try:
        worker = opening(connection.recv())
    except (EOFError, ConnectionResetError):
        return
    except Exception as error:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(Failed(_portable(error)))
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # then what is received tells the end
        connection.send(worker.told)
    tasks = queue.SimpleQueue[tuple[int, Any]]()
    sending = threading.Lock()
    for _ in range(worker.threads):
        threading.Thread(target=_work, args=(worker, tasks, connection, sending), daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        while True:
            tasks.put(connection.recv())
    os._exit(0)  # nobody waits for what is being worked on


def _work(
    worker: Worker, tasks: queue.SimpleQueue[tuple[int, Any]], connection: Connection, sending: threading.Lock
) -> None:
    try:
        while True:
            number, task = tasks.get()
            for answer in worker.work(task):
                with sending:
                    connection.send((number, answer))
    except (BrokenPipeError, ConnectionResetError):  # the parent has ended
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error, or one of the same text where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return EngineError(f"{type(error).__name__}: {error}")
    return error


@contextlib.contextmanager
def _without_interrupts() -> Generator[None]:
    """Keep Ctrl-C from a process that is started here, until it ignores it: it would die of it with a traceback."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # which unblocks the signal when it is first started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
