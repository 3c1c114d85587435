"""A server that the tests of several files share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers import Served, running

from yoj.serving import HttpSettings


@pytest.fixture(scope="module")
def served(scorer) -> Iterator[Served]:
    """A server with the default settings, of the Qwen3-VL bundle."""
    with running(scorer("qwen3_vl"), HttpSettings(name="judge")) as server:
        yield server
