"""The pages on adding something list every table in the code that names its kind."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Collection
from pathlib import Path
from typing import get_args

import pytest
from parts import PARTS

from yoj.export.checkpoint.head import HEADS, READOUTS
from yoj.export.families import FAMILIES as EXPORT_FAMILIES
from yoj.export.quantisation.schemes import STORAGES
from yoj.runtime.engines import ENGINES, Engine
from yoj.runtime.families import FAMILIES
from yoj.runtime.manifest import HeadType, Readout
from yoj.runtime.roles import Role
from yoj.runtime.schemes import SCHEMES, Scheme

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def tables(names: Collection[str]) -> set[str]:
    """Files of the packages with a literal of which several elements are among the names."""
    return {file for file, literals in all_literals(ROOT) if any(len(texts & set(names)) > 1 for texts in literals)}


@functools.cache
def all_literals(root: Path) -> list[tuple[str, list[set[str]]]]:
    """Files of the packages, and of each the texts that stand in one literal, or in calls in one."""
    files = [file for part in PARTS for file in (root / part / "yoj").rglob("*.py")]
    return [(file.relative_to(root).as_posix(), literals(file)) for file in files]


def literals(file: Path) -> list[set[str]]:
    """Texts of each literal of a file."""
    found: list[set[str]] = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        parts = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
        calls = [argument for e in parts if isinstance(e, ast.Call) for argument in e.args]
        texts = {e.value for e in (*parts, *calls) if isinstance(e, ast.Constant) and isinstance(e.value, str)}
        found += [texts] if texts else []
    return found


def listed(page: str) -> list[str]:
    """Files in the table of a page."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    return re.findall(r"^\| `([^`]+)` \|", text.split("## Files that name")[1], re.M)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("adding-a-family.md", FAMILIES),
        ("adding-an-engine.md", ENGINES),
        ("adding-a-scheme.md", {**SCHEMES, **STORAGES}),
    ],
)
def test_every_table_that_names_them_is_listed(page, names):
    assert tables(names) == set(listed(page))


def test_a_further_table_would_be_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "bench" / "yoj" / "bench" / "extra.py"
    file.parent.mkdir(parents=True)
    file.write_text('WIDTHS = {"int8": 1, "fp8": 1}')
    assert tables(SCHEMES) == {"bench/yoj/bench/extra.py"}
    all_literals.cache_clear()
    file.write_text('# int8, fp8\nWIDTH = {"int8": 1, "other": 1}')
    assert tables(SCHEMES) == set()


def test_both_tables_of_families_and_of_read_outs_hold_the_same():
    assert set(FAMILIES) == set(EXPORT_FAMILIES)
    assert set(READOUTS) == set(get_args(Readout))
    assert set(HEADS) == set(get_args(HeadType))
    assert {scheme.storage for scheme in SCHEMES.values()} == set(STORAGES)


@pytest.mark.parametrize("record", [Scheme, Engine, Role])
def test_a_record_that_misses_a_field_is_refused(record):
    with pytest.raises(TypeError, match=r"missing .* required keyword-only argument"):
        record()


def test_paths_in_the_pages_exist():
    for page in ("design.md", *(file.name for file in (ROOT / "docs").glob("adding-*.md"))):
        for path in re.findall(
            r"`((?:export|runtime|bench|training|tests|docs)/[\w./-]+)`", (ROOT / "docs" / page).read_text()
        ):
            if "..." not in path:
                assert (ROOT / path).exists(), f"{page} names {path}, which is not there"
