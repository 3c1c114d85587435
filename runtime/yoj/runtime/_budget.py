"""Budget that the media of one request share, and the error that says which part of it is spent."""

from __future__ import annotations

import io
import os
import time
from dataclasses import dataclass
from typing import Any, BinaryIO

from .errors import LimitError


@dataclass(frozen=True)
class Budget:
    """Most that the media of one request may cost together."""

    pixels: int = 1_000_000_000
    """Width times height of the pictures and of those video frames that the model sees, summed."""
    bytes: int = 4 * 2**30
    """Sizes of files and of media given as bytes, summed."""
    seconds: float = 600.0
    """Seconds between the opening of the first medium and the end of the last one."""


class Spending:
    """Part of a budget that is spent so far. One object goes with all media of a request."""

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget or Budget()
        self._pixels = 0
        self._bytes = 0
        self._end = time.monotonic() + self._budget.seconds

    def take_pixels(self, pixels: int, name: str) -> None:
        """Count a picture or a frame.

        Raises:
            LimitError: the budget of pixels is spent.
        """
        self.foresee_pixels(pixels, name)
        self._pixels += pixels

    def foresee_pixels(self, pixels: int, name: str) -> None:
        """Refuse media that will not fit, before they are decoded; nothing is counted.

        Raises:
            LimitError: the budget of pixels would be spent.
        """
        if self._pixels + pixels > self._budget.pixels:
            raise LimitError(
                f"{name}: with its {pixels:,} pixels the media of the request come to {self._pixels + pixels:,}; their "
                f"budget is {self._budget.pixels:,} pixels. Give fewer or smaller pictures or frames."
            )

    def take_bytes(self, count: int, name: str) -> None:
        """Count a file's size.

        Raises:
            LimitError: the budget of bytes is spent.
        """
        self._bytes += count
        if self._bytes > self._budget.bytes:
            raise LimitError(
                f"{name}: with its {count:,} bytes the media of the request come to {self._bytes:,}; their budget is "
                f"{self._budget.bytes:,} bytes. Give fewer or smaller files."
            )

    def check_time(self, name: str) -> None:
        """Refuse to go on after the end of the time.

        Raises:
            LimitError: the budget of seconds is spent.
        """
        if time.monotonic() > self._end:
            raise LimitError(
                f"{name}: the media of the request were not decoded within {self._budget.seconds:g} seconds, which are "
                "their budget. Give fewer or smaller media, or shorter videos."
            )


class MeteredFile:
    """File whose reading ends when the time of a request is spent.

    Decoders in C cannot be interrupted, but most of them ask for the next piece of the file now and then. The
    object has no ``name``, so that FFmpeg and Pillow cannot open the file by it again.
    """

    def __init__(self, file: BinaryIO, spending: Spending, label: str) -> None:
        """Count the file's size.

        Raises:
            LimitError: a part of the budget is spent.
        """
        self._file, self._spending, self._label = file, spending, label
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)
        spending.take_bytes(self.size, label)
        spending.check_time(label)

    def __enter__(self) -> MeteredFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        """Read bytes as `io.RawIOBase.read` does, within the time.

        Raises:
            LimitError: the budget of seconds is spent.
        """
        self._spending.check_time(self._label)
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset; see `io.IOBase.seek`."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Offset in the file; see `io.IOBase.tell`."""
        return self._file.tell()

    def fileno(self) -> int:
        """Descriptor of the file, by which libtiff reads it instead of holding the whole file in memory."""
        return self._file.fileno()

    def flush(self) -> None:
        """Do nothing, since the file is only read."""

    def close(self) -> None:
        """Close the file; see `io.IOBase.close`."""
        self._file.close()

    @property
    def closed(self) -> bool:
        """Whether the file is closed; see `io.IOBase.closed`."""
        return self._file.closed


def opened(source: str | os.PathLike[str] | bytes, spending: Spending, label: str) -> Any:
    """Open a path or a file's content as a `MeteredFile`.

    Raises:
        LimitError: a part of the budget is spent.
        OSError: the file cannot be opened.
    """
    file: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")  # noqa: SIM115
    return MeteredFile(file, spending, label)
