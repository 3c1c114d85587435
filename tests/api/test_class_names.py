"""Public classes of all parts have names of their own, so that a name alone says which class is meant."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from parts import PARTS

ROOT = Path(__file__).parents[2]


def public_classes(source: str) -> list[str]:
    """Names of the public classes at the level of a module."""
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]


def doubled(sources: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Name that several modules define -> those modules, from the modules' names and texts."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for module, source in sources:
        for name in public_classes(source):
            places[name].append(module)
    return {name: modules for name, modules in places.items() if len(modules) > 1}


FOR_TRAINERS = {
    "GroupReward": ["integrations/yoj/integrations/_group.py", "integrations/yoj/integrations/trl.py"],
}
"""Name of the one thing and of what a trainer is given of it, whose module says for which trainer."""


def test_every_public_class_has_a_name_of_its_own():
    files = [file for part in PARTS for file in sorted((ROOT / part / "yoj" / part).rglob("*.py"))]
    assert len(files) > 100
    found = doubled((file.relative_to(ROOT).as_posix(), file.read_text("utf-8")) for file in files)
    found = {name: modules for name, modules in found.items() if modules != FOR_TRAINERS.get(name)}
    assert not found, f"rename all but one of each, in the part that is less public: {found}"


def test_a_name_that_two_modules_have_is_found():
    sources = [("a.py", "class Plan: ...\nclass _Reader: ..."), ("b.py", "class Plan: ...\nclass _Reader: ...")]
    assert doubled(sources) == {"Plan": ["a.py", "b.py"]}
