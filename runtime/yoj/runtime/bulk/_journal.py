"""Journal of a shard: the results so far, appended one by one, so that a kill at any moment loses none of them.

A line is the JSON of a result as `encode_result` writes it, a tab, and its CRC-32 in 8 hexadecimal digits. A line that
does not fit its sum costs itself alone. Of several results of one row the last counts: a failed row is tried again.
"""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from .._jsonl import Done
from .._results_file import open_locked
from ..errors import RequestError
from ._rows import RowResult
from ._shards import ShardError

NOTHING, FAILED, SCORED = range(3)
SUM = 1 + 8
"""Bytes of the tab and of the sum behind it."""


class Journal:
    """Journal that this process alone writes, as a context."""

    def __init__(self, file: Path, runs: Collection[str]):
        """Open a journal, or begin one.

        Args:
            file: file of the journal.
            runs: digests of runs whose results may stand in it.

        Raises:
            RequestError: another process writes it, or results of other settings stand in it.
            OSError: the file cannot be read or written.
        """
        self.file, self.damaged = file, 0
        """Number of lines that could not be read."""
        self._runs = runs
        self._states, self._digests, self._places = array("B"), array("Q"), array("q")
        self._stream = open_locked(file)
        try:
            self._end = self._read()
            # Another handle, since the first one's buffer knows nothing of what is appended past it.
            self._reader = file.open("rb")
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._reader.close()
        self._stream.close()

    def has(self, number: int, digest: str) -> bool:
        """Whether a row has been scored. A failed one is to be tried again, whatever it is now.

        Raises:
            ShardError: the journal has the score of another row of this number.
        """
        if self._state(number) != SCORED:
            return False
        if self._digests[number] != int(digest, 16):
            raise ShardError(
                f"row {number} is another request than the one that an earlier run scored into {self.file}. Choose "
                "another folder for the results, or remove that file to score all rows again"
            )
        return True

    def append(self, result: RowResult) -> None:
        """Write a result.

        Raises:
            OSError: the disk is full, or the file cannot be written; what was written of the line is taken back.
        """
        text = result.text.removesuffix(b"\n")
        line = memoryview(text + b"\t%08x\n" % zlib.crc32(text))
        try:
            written = 0
            while written < len(line):
                written += os.write(self._stream.fileno(), line[written:])
        except BaseException:
            os.ftruncate(self._stream.fileno(), self._end)
            raise
        self._note(result.done, self._end)
        self._end += len(line)

    def numbers(self) -> Iterator[int]:
        """Numbers of all rows that have a result, ascending."""
        return (number for number, state in enumerate(self._states) if state != NOTHING)

    def count(self, state: int) -> int:
        """Count of the rows of a state, `FAILED` or `SCORED`."""
        return self._states.count(state)

    def line(self, number: int) -> bytes:
        """JSON line of a row's result, with its line feed.

        Raises:
            OSError: the file cannot be read, or was changed since.
        """
        self._reader.seek(self._places[number])
        text = _checked(self._reader.readline())
        if text is None:
            raise OSError(f"{self.file} was changed while it was read; start the same command again.")
        return text + b"\n"

    def _state(self, number: int) -> int:
        return self._states[number] if number < len(self._states) else NOTHING

    def _read(self) -> int:
        """Note all lines, cut a half-written one off, and tell where the last whole one ends."""
        end = 0
        self._stream.seek(0)
        for line in self._stream:
            if not line.endswith(b"\n"):
                self._stream.truncate(end)
                break
            text = _checked(line)
            try:
                done = None if text is None else msgspec.json.decode(text, type=Done)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                done = None
            if done is None:
                self.damaged += 1
            else:
                self._check_run(done)
                self._note(done, end)
            end += len(line)
        return end

    def _check_run(self, done: Done) -> None:
        if done.run not in self._runs:
            raise RequestError(
                f"{self.file} holds results of another bundle, or of another mode, method, dimension, number "
                "of orders, overflow, rationale or placeholders; they would not compare. Choose another folder for "
                "the results."
            )

    def _note(self, done: Done, place: int) -> None:
        if (more := done.line + 1 - len(self._states)) > 0:
            for numbers, size in ((self._states, 1), (self._digests, 8), (self._places, 8)):
                numbers.frombytes(bytes(more * size))
        self._states[done.line] = SCORED if done.error is None else FAILED
        self._digests[done.line] = int(done.request, 16)
        self._places[done.line] = place


def _checked(line: bytes) -> bytes | None:
    """Text of a line without its sum; None where the two do not fit."""
    text, mark = line[: -SUM - 1], line[-SUM - 1 : -1]
    return text if mark == b"\t%08x" % zlib.crc32(text) else None
