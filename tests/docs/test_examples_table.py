"""The table of the examples names each, its commands are those of the examples, and tests run what it says they run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTS = Path(__file__).parents[1] / "examples"
PAGE = (EXAMPLES / "README.md").read_text("utf-8")
ROWS = {link: row for row in PAGE.splitlines() if (link := "".join(re.findall(r"^\| \[[^]]+\]\(([^)]+)\)", row)))}
MODULES = sorted(EXAMPLES.glob("*.py"))


def test_every_example_has_a_row():
    programs = [*MODULES, *EXAMPLES.glob("*.sh"), EXAMPLES / "c" / "judge.cpp", EXAMPLES / "native" / "score_dump.cpp"]
    assert set(ROWS) == {file.relative_to(EXAMPLES).as_posix() for file in programs}


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (EXAMPLES / target).exists(), target


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.name)
def test_the_command_is_that_of_the_example(file):
    said = file.read_text("utf-8").split('"""')[1].replace("\\\\\n    ", "")
    command = re.search(rf"^python -m examples\.{file.stem}.*$", said, re.MULTILINE)[0]
    assert command in PAGE.splitlines() or file.stem == "demo"


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if "test run" in row and "/" not in name])
def test_a_test_runs_it(name):
    (test,) = TESTS.glob(f"test_{Path(name).stem}*.py")
    run = test.read_text("utf-8")
    assert f'run_example("{Path(name).stem}' in run
    assert ("nightly" in ROWS[name]) == ("mark.thorough" in run)
