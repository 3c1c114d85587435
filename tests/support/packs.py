"""Packs of single rows, for tests that look at tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yoj.runtime.packing import Pack, Packer, PackingOptions
from yoj.runtime.request import Request
from yoj.runtime.script import Script, script_of
from yoj.runtime.stretch import Span


def script(prompt: str, responses: Sequence[str], images: int = 0, videos: int = 0) -> Script:
    """A request whose media are only counted; its texts are taken as they are."""
    film = b"" if videos else None
    return script_of(Request(prompt, responses, images=[b""] * images, video=film, placeholders="text"))


def pack_one(packer: Packer, of: Script, media: Sequence[Sequence[Span]] = (), **reading: Any) -> Pack:
    """The only row of a script."""
    (pack,) = packer.pack(of, media, PackingOptions(**reading))
    return pack
