"""Files that one process at a time writes: locks, and the file of results that a run goes on with."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from ._jsonl import EarlierResults, read_results
from .errors import RequestError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has no such locks and flags
    fcntl = None


class HeldError(RequestError):
    """File that another process writes."""


NOTHING = EarlierResults([])


@contextmanager
def open_results(requests: Path, out: Path | None) -> Generator[tuple[BinaryIO, EarlierResults]]:
    """Open the destination of results.

    Args:
        requests: file of the requests, ``-`` for standard input.
        out: file of the results; None for standard output.

    Yields:
        stream: destination of new results, at its end.
        results: results of an earlier run that are not to be tried again.

    Raises:
        RequestError: another process writes there, or something else than results is there.
    """
    if out is None:
        if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise RequestError("Standard output is closed; give a file with --out.")
        yield sys.stdout.buffer, _appended_results()
        return
    if out.exists() and (not out.is_file() or (str(requests) != "-" and out.samefile(requests))):
        raise RequestError(f"--out {out} is {'the requests themselves' if out.is_file() else 'no plain file'}.")
    with ExitStack() as stack:
        stream = stack.enter_context(open_locked(out))
        stream.seek(0)
        text = stream.read()
        results = read_results(text, str(out))
        if results.text != text:
            # The new file is locked before it takes the old one's place, so that nobody can get in between. Who holds
            # the lock of the old one owns the spare name, on which a killed run may have left something.
            spare = out.with_name(f".{out.name}.tmp")
            stream = stack.enter_context(spare.open("w+b"))
            lock(stream, out)
            stream.write(results.text)
            stream.flush()
            os.fsync(stream.fileno())
            spare.replace(out)
        yield stream, replace(results, done=results.scored)


def open_locked(file: Path) -> BinaryIO:
    """Open a file that this process alone reads and appends to, until the stream is closed.

    Raises:
        RequestError: another process does so.
        OSError: the file cannot be opened.
    """
    while True:
        stream = file.open("a+b")
        try:
            lock(stream, file)
            # The process that held the lock may have removed or replaced the file meanwhile.
            if fcntl is None or (file.exists() and os.path.samestat(os.fstat(stream.fileno()), file.stat())):
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()


def lock(stream: BinaryIO, file: Path) -> None:
    """Lock an open file against other processes that lock it, until it is closed.

    Raises:
        HeldError: another process holds the lock of ``file``.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise HeldError(f"Another process writes to {file}. Wait for it, or choose another file.") from error


def _appended_results() -> EarlierResults:
    """Results in the file that the shell's ``>>`` appends to; none for a pipe, a terminal or ``>``."""
    output = sys.stdout.fileno()
    if (
        fcntl is None
        or not stat.S_ISREG(os.fstat(output).st_mode)
        or not fcntl.fcntl(output, fcntl.F_GETFL) & os.O_APPEND
    ):
        return NOTHING
    text = Path("/dev/stdout").read_bytes()
    results = read_results(text, "standard output's file")
    os.ftruncate(output, text.rfind(b"\n") + 1)
    return results
