"""Files that are compressed with zstd, by the package zstandard, which is loaded where one is read or written."""

from __future__ import annotations

import io
from types import ModuleType
from typing import BinaryIO, cast

from .errors import RequestError

CHUNK = 4096
"""Compressed bytes that are unpacked at once. Few, since each may stand for tens of thousands."""


def zstandard(name: str) -> ModuleType:
    """Package zstandard.

    Args:
        name: name of the file that needs it.

    Raises:
        RequestError: it is not installed.
    """
    try:
        import zstandard as package
    except ImportError as error:
        raise RequestError(
            f"{name} is compressed with zstd, which needs a package: pip install 'yoj[zstd]'. Or use gzip."
        ) from error
    return package


def unpack(stream: BinaryIO, name: str) -> BinaryIO:
    """Stream of what a compressed one holds.

    Args:
        stream: compressed stream, at its beginning.
        name: name of the file in errors.

    Raises:
        RequestError: zstandard is not installed. What is read later raises it for damage.
    """
    return cast("BinaryIO", io.BufferedReader(_Unpacked(stream, name, zstandard(name)), 2**17))


class _Unpacked(io.RawIOBase):
    """Unpacked frames of a file. Unlike the readers of zstandard it notices that the last frame is cut."""

    def __init__(self, stream: BinaryIO, name: str, package: ModuleType):
        self._stream, self._name, self._package = stream, name, package
        self._frame = package.ZstdDecompressor().decompressobj()
        self._inside = False
        self._waiting = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self._waiting:
            chunk = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, self._inside = self._package.ZstdDecompressor().decompressobj(), False
            chunk = chunk or self._stream.read(CHUNK)
            if not chunk:
                if self._inside:
                    raise RequestError(f"{self._name} is a damaged zstd file: its end is missing. Make it again.")
                return 0
            self._inside = True
            try:
                self._waiting = memoryview(self._frame.decompress(chunk))
            except self._package.ZstdError as error:
                raise RequestError(f"{self._name} is a damaged zstd file: {error}. Make it again.") from error
        count = min(len(buffer), len(self._waiting))
        buffer[:count] = self._waiting[:count]
        self._waiting = self._waiting[count:]
        return count
