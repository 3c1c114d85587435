"""What a client's script is asked, and how it says what it got. It runs in the clients' environment, without yoj."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CLAIMED_BY_NONE = "nobody"
"""Name of a model and an API key that the server does not have."""


@dataclass(frozen=True)
class Asked:
    """What to ask the server."""

    url: str
    key: str
    query: str
    documents: list[str]
    picture: str
    """Data URL."""

    @property
    def query_with_picture(self) -> dict[str, Any]:
        """The query as vLLM takes one with a picture."""
        picture = {"type": "image_url", "image_url": {"url": self.picture}}
        return {"content": [picture, {"type": "text", "text": self.query}]}


def asked() -> Asked:
    """Read the base URL from the command line and the rest from the standard input."""
    return Asked(sys.argv[1], **json.load(sys.stdin))


def error_of(call: Callable[[], Any]) -> dict[str, str]:
    """Class and text of the exception that a call must raise."""
    try:
        answer = call()
    except Exception as error:
        return {"class": type(error).__name__, "text": str(error)}
    raise SystemExit(f"the call raised nothing; it gave {answer!r}")
