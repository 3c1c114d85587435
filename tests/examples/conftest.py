"""Bundles of the judges that this repository ships, which ``make demo`` exports too."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock
from quiet import Quiet
from run_examples import ROOT

from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig


def _exported(name: str, out: Path, language: bool = False) -> str:
    with FileLock(f"{out}.lock"):
        if not out.exists():
            checkpoint = ROOT / "checkpoints" / name
            build(ExportConfig([checkpoint], None, "assistant", out, compare=False, language=language), Quiet())
    return str(out)


@pytest.fixture(scope="session")
def judge(run_folder: Path) -> str:
    """Bundle of the judge of answers about scenes."""
    return _exported("shapes-qwen3_vl", run_folder / "demo-judge.yoj")


@pytest.fixture(scope="session")
def edits_judge(run_folder: Path) -> str:
    """Bundle of the judge of edits, which explains its grades."""
    return _exported("edits-qwen3_vl", run_folder / "demo-edits.yoj", language=True)
