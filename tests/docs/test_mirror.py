"""Tests of a file are found by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts import PARTS

ROOT = Path(__file__).parents[2]
PACKAGES = {part: ROOT / part / "yoj" / part for part in PARTS}
PACKAGES |= {name: ROOT / name for name in ("experiments", "examples")}
TESTS = sorted(file for part in PACKAGES for file in (ROOT / "tests" / part).rglob("test_*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("test", TESTS, ids=lambda file: file.relative_to(ROOT / "tests").as_posix())
def test_the_file_that_is_tested_is_named(test):
    """``<room>/test_<file>.py``, or ``<room>/test_<file>_<what of it>.py``."""
    part, *rooms = test.relative_to(ROOT / "tests").parent.parts
    stems = {path.stem.lstrip("_") for path in PACKAGES[part].joinpath(*rooms).iterdir()} - {"", "init__", "pycache__"}
    name = test.stem.removeprefix("test_")
    assert any(name == stem or name.startswith(f"{stem}_") for stem in stems), f"{name} is none of {sorted(stems)}"


def test_no_two_have_one_name():
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
