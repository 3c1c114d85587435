"""Docstrings are full phrases with the subject first, and the errors that they list exist."""

from __future__ import annotations

import ast
import builtins
import importlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts import PARTS

ROOT = Path(__file__).parents[2]
FOLDERS = [*(ROOT / part / "yoj" / part for part in PARTS), ROOT / "experiments"]
FILES = [file for folder in FOLDERS for file in sorted(folder.rglob("*.py"))]
# "Whether" and "If" begin full phrases; these words begin what has lost its noun.
WITHOUT_SUBJECT = (
    *("Of", "What", "Those", "That", "Who", "Whose", "Which", "How", "Where", "When", "Why"),
    *("Likewise", "Also", "Its", "It", "They", "So", "Such", "Same", "Beside", "Behind", "Before", "After"),
)
BEGINS_WITHOUT = re.compile(rf"(?:{'|'.join(WITHOUT_SUBJECT)})\b")
ENTRY = re.compile(r"^ {4}(\w+): (\w+)", re.MULTILINE)
ENTRY_WITHOUT_SUBJECT = {
    "of",
    "what",
    "that",
    "those",
    "who",
    "whose",
    "which",
    "how",
    "where",
    "when",
    "by",
    "likewise",
}
RAISES = re.compile(r"^Raises:\n((?:[ \t]+.*\n?|\n)+)", re.MULTILINE)
Described = tuple[int, str]


def docstrings(tree: ast.Module) -> Iterator[Described]:
    """Line and text of the docstrings of a module, its classes and functions, and the texts behind attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if text := ast.get_docstring(node):
                yield node.body[0].lineno, text
            yield from behind_attributes(node.body)


def behind_attributes(body: list[ast.stmt]) -> Iterator[Described]:
    for before, node in itertools.pairwise(body):
        if not isinstance(before, ast.Assign | ast.AnnAssign) or not isinstance(node, ast.Expr):
            continue
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def without_subject(text: str) -> bool:
    return BEGINS_WITHOUT.match(text) is not None


def entries_without_subject(text: str) -> list[str]:
    """Entries of a docstring's sections, of arguments and the like, whose text has no subject."""
    return [f"{name}: {begin}" for name, begin in ENTRY.findall(text) if begin in ENTRY_WITHOUT_SUBJECT]


def raised(text: str) -> list[str]:
    """Names that a docstring's section ``Raises:`` lists."""
    found = RAISES.search(text)
    return re.findall(r"^ {4}([\w.]+):", found[1], re.MULTILINE) if found else []


def errors_of_the_parts() -> set[str]:
    trees = [ast.parse(file.read_text("utf-8")) for file in FILES]
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def exists(name: str, known: set[str]) -> bool:
    """Whether a name is an exception of Python, of yoj, or of the library that it names or a module imports."""
    if name in known or isinstance(getattr(builtins, name, None), type):
        return True
    module, _, leaf = name.rpartition(".")
    return bool(module) and hasattr(importlib.import_module(module), leaf)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_docstrings_have_their_subject_first(file):
    found = [
        f"{line}: {text[:80]} {' '.join(entries_without_subject(text))}"
        for line, text in docstrings(ast.parse(file.read_text("utf-8")))
        if without_subject(text) or entries_without_subject(text)
    ]
    assert not found, f"{file.relative_to(ROOT)} has docstrings that begin without a subject:\n" + "\n".join(found)


@pytest.mark.slow
def test_listed_errors_exist():
    known = errors_of_the_parts()
    for file in FILES:
        tree = ast.parse(file.read_text("utf-8"))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        for line, text in docstrings(tree):
            for name in raised(text):
                assert exists(name, known | imported), f"{file}:{line} lists {name}, which is no error"


def test_a_docstring_without_a_subject_is_found():
    tree = ast.parse(
        '"""Sizes."""\nWIDTH = 3\n"""Of a row, in pixels."""\n\n\ndef area():\n    """What it covers."""\n'
    )
    assert sorted(line for line, text in docstrings(tree) if without_subject(text)) == [3, 7]


def test_a_listed_error_that_does_not_exist_is_found():
    text = "Read.\n\nRaises:\n    ValueError: no number.\n    GoneError: renamed since.\n"
    assert [name for name in raised(text) if not exists(name, set())] == ["GoneError"]


def test_an_argument_without_a_subject_is_found():
    text = "Read.\n\nArgs:\n    width: of a row.\n    height: height of a column.\n"
    assert entries_without_subject(text) == ["width: of"]
