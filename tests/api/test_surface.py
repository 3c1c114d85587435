"""The surface of each part: public names are those of the page, and what is neither public nor shared is private."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts import PARTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")
FRAMEWORKS = ("flow_factory", "nemo_gym", "openrlhf", "slime", "swift", "trl", "verl")
PUBLIC = {
    *(f"yoj.{part}" for part in PARTS),
    "yoj.runtime.errors",
    *(f"yoj.integrations.{name}" for name in FRAMEWORKS),
    "yoj.integrations.flow_grpo",
    "yoj.integrations.ray",
}


def modules() -> dict[str, Path]:
    """Every module and package of yoj, by its dotted name."""
    found: dict[str, Path] = {}
    for part in PARTS:
        for path in (ROOT / part / "yoj").rglob("*.py"):
            words = path.relative_to(ROOT / part).with_suffix("").parts
            found[".".join(words[:-1] if words[-1] == "__init__" else words)] = path
    return found


def targets(path: Path, name: str, known: dict[str, Path]) -> Iterator[str]:
    """Modules of yoj that a file imports, wherever in it."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            if base in known:
                yield base
            public = names_of(base) if base in PUBLIC else set()  # before a module of the same name
            yield from (
                sub for alias in node.names if alias.name not in public and (sub := f"{base}.{alias.name}") in known
            )


def names_of(module: str) -> set[str]:
    """Public names of a public module."""
    if module.rpartition(".")[2] in FRAMEWORKS:  # cannot be imported where its framework is missing
        body = ast.parse(modules()[module].read_text("utf-8")).body
        (value,) = [
            one.value for one in body if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "__all__"
        ]
        return set(ast.literal_eval(value))
    found = importlib.import_module(module)
    if hasattr(found, "__all__"):
        return set(found.__all__)
    return {name for name, value in vars(found).items() if getattr(value, "__module__", "") == module}


def users() -> dict[str, set[str]]:
    """Module -> the parts that import it; experiments and examples count as parts, tests do not."""
    known, found = modules(), defaultdict[str, set[str]](set)
    for name, path in known.items():
        for target in targets(path, name, known):
            found[target].add(name.split(".")[1])
    for part in ("experiments", "examples"):
        for path in (ROOT / part).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for target in targets(path, name, known):
                found[target].add(part)
    return found


def entries() -> set[str]:
    """Modules of commands."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    return {place.partition(":")[0] for place in scripts.values()}


def is_private(module: str) -> bool:
    """Whether a part of the name is marked as private."""
    return any(word.startswith("_") for word in module.split(".")[2:])


USERS = users()


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_the_page_lists_the_public_names(module):
    listed = [cells.split("|") for cells in re.findall(rf"^\| `{re.escape(module)}` \|(.*)\|$", PAGE, re.M)]
    named = [name for names, _ in listed for name in re.findall(r"`(\w+)`", names)]
    assert sorted(named) == sorted(names_of(module))
    tree = ast.parse(modules()[module].read_text("utf-8"))
    made = {one.name for one in tree.body if isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)}
    framework = module.rpartition(".")[2] in FRAMEWORKS
    assert all(name in made if framework else hasattr(importlib.import_module(module), name) for name in named)


@pytest.mark.slow
def test_what_only_its_own_part_imports_is_private():
    for module, path in modules().items():
        own = module.split(".")[1]
        if is_private(module) or module in PUBLIC | entries() or path.stem == "__init__":
            continue
        assert USERS[module] - {own}, f"{module} is imported by {own} alone: name it _{module.rpartition('.')[2]}"


def test_no_part_imports_what_is_private_in_another():
    wrong = {module: found for module, found in USERS.items() if is_private(module) and found != {module.split(".")[1]}}
    assert wrong == {}


@pytest.mark.slow
def test_the_page_lists_the_internal_modules():
    shared = {
        module
        for module, path in modules().items()
        if not is_private(module) and module not in PUBLIC | entries() and USERS[module] - {module.split(".")[1]}
    }
    listed = re.findall(r"`(yoj\.[\w.]+)`", PAGE.split("\n## Internal", 1)[1])
    assert sorted(listed) == sorted(shared)


def test_imports_are_read_in_all_their_forms():
    """Without this, a parser that finds nothing would pass the tests above."""
    assert {"export", "calibration", "bench", "training"} <= USERS["yoj.runtime.errors"]
    assert "export" in USERS["yoj.runtime.manifest"]  # from yoj.runtime import manifest as m
    assert USERS["yoj.runtime._judgement"] == {"runtime"}  # from ._judgement import Judgement
    assert "experiments" in USERS["yoj.training.samples"]
