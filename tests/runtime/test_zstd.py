"""Streams that are compressed with zstd, against the library's own compressor."""

from __future__ import annotations

import io
import random
import subprocess
import sys

import pytest

from yoj.runtime import RequestError
from yoj.runtime._zstd import unpack

zstandard = pytest.importorskip("zstandard")
TEXT = random.Random(0).randbytes(30_000) + b"line\n" * 200_000


def frames(*texts: bytes) -> bytes:
    return b"".join(zstandard.ZstdCompressor().compress(text) for text in texts)


@pytest.mark.parametrize("texts", [[TEXT], [TEXT, b"", b"more\n", TEXT[:70_000]], [b""]])
def test_all_frames_are_unpacked(texts):
    assert unpack(io.BytesIO(frames(*texts)), "file").read() == b"".join(texts)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9999])
def test_a_cut_stream_is_an_error_and_not_an_end(kept):
    whole = frames(TEXT)
    with pytest.raises(RequestError, match="file is a damaged zstd file: its end is missing"):
        unpack(io.BytesIO(whole[: int(len(whole) * kept)]), "file").read()


def test_a_damaged_stream_is_an_error():
    whole = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(TEXT))
    whole[12_000] ^= 255
    with pytest.raises(RequestError, match="file is a damaged zstd file: "):
        unpack(io.BytesIO(bytes(whole)), "file").read()


def test_without_the_package_the_error_says_how_to_install_it():
    code = (
        "import sys, io; sys.modules['zstandard'] = None\n"
        "from yoj.runtime._zstd import unpack\n"
        "try: unpack(io.BytesIO(b''), 'a.jsonl.zst')\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "a.jsonl.zst is compressed with zstd, which needs a package: pip install 'yoj[zstd]'" in done.stdout
