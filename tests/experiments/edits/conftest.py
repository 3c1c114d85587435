"""The shipped judge of edits as a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from yoj.runtime import Scorer


@pytest.fixture(scope="package")
def edits_bundle(bundle: Callable[[str, str], Path]) -> Path:
    """Bundle with the language path."""
    return bundle("edits", "assistant")


@pytest.fixture(scope="package")
def scorer(edits_bundle: Path) -> Iterator[Scorer]:
    """Scorer of the bundle, on one thread."""
    with Scorer.load(edits_bundle, threads=1) as opened:
        yield opened
