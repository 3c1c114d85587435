"""The shipped judge of edits as a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from quiet import Quiet

from experiments.edits.base import tokenizer_file
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.runtime import Scorer


@pytest.fixture(scope="package")
def edits_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundle with the language path."""
    bundle = tmp_path_factory.mktemp("shipped") / "edits.yoj"
    build(ExportConfig([tokenizer_file().parent], None, "assistant", bundle, language=True), Quiet())
    return bundle


@pytest.fixture(scope="package")
def scorer(edits_bundle: Path) -> Iterator[Scorer]:
    """Scorer of the bundle, on one thread."""
    with Scorer.load(edits_bundle, threads=1) as opened:
        yield opened
