"""Bundles that several tests share, exported once per worker from the recorded checkpoints."""

from __future__ import annotations

import functools
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from yoj.runtime import Scorer

DATA = Path(__file__).parent / "golden" / "data"
MERGED, ADAPTER = DATA / "checkpoint-merged", DATA / "checkpoint-adapter"
IMAGES = DATA / "images"


class Quiet:
    """Progress that nobody watches."""

    def stage(self, name: str, bytes_to_write: int = 0) -> None: ...
    def advance(self, count: int) -> None: ...
    def note(self, text: str) -> None: ...


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory):
    """bundle(kind, layout) -> path of a verified bundle; kind is ``merged`` or ``adapter``."""
    from yoj.export.build import Recipe, build

    folder = tmp_path_factory.mktemp("bundles")

    @functools.cache
    def make(kind: str, layout: str) -> Path:
        out = folder / f"{kind}-{layout}.yoj"
        build(Recipe([{"merged": MERGED, "adapter": ADAPTER}[kind]], None, layout, out), Quiet())
        return out

    return make


@pytest.fixture(scope="session")
def scorer(bundle):
    """scorer(kind, layout) -> a loaded `Scorer`."""
    return functools.cache(lambda kind="merged", layout="assistant": Scorer.load(bundle(kind, layout)))
