"""Reader of ``config.json``, which takes all of its spellings and collects all of its mistakes."""

from __future__ import annotations

from typing import Any, cast

MOST = 2**31 - 1
"""Largest size of an axis, which ONNX Runtime and TensorRT count in 32 bits."""
LARGEST = 1e30
"""Largest plausible number."""
SHOWN = 60
"""Most characters of a value in an error."""


class Section:
    """One sub-configuration; missing and unsupported settings are noted in ``problems``."""

    def __init__(self, name: str, values: dict[str, Any], problems: list[str]):
        self.name, self.values, self.problems = name, values, problems

    def get(self, *names: str) -> Any:
        """Value of the first of several spellings."""
        found = next((self.values[name] for name in names if self.values.get(name) is not None), None)
        if found is None:
            self.problems.append(f"{self.name}.{names[0]} is missing")
        return found

    def count(self, *names: str, most: int = MOST) -> int:
        """Whole number from 1 to ``most``; 0 where it is none, so that reading can go on and collect the rest."""
        found = self.get(*names)
        if found is not None and not (type(found) is int and 1 <= found <= most):
            self.problems.append(f"{self.name}.{names[0]} is {_shown(found)}, not a whole number from 1 to {most:,}")
            return 0
        return found or 0

    def counts(self, *names: str) -> tuple[int, ...]:
        """Whole numbers, of either sign; none where the value is something else."""
        found = self.get(*names)
        if isinstance(found, list) and all(type(number) is int and abs(number) <= MOST for number in found):
            return tuple(found)
        if found is not None:
            self.problems.append(f"{self.name}.{names[0]} is {_shown(found)}, not a list of whole numbers")
        return ()

    def positive(self, *names: str) -> float:
        """Finite number above 0; 1 where it is not."""
        found = self.get(*names)
        if type(found) in (int, float) and 0 < found < LARGEST:
            return found
        if found is not None:
            self.problems.append(f"{self.name}.{names[0]} is {_shown(found)}, not a number above 0")
        return 1.0

    def inner(self, name: str) -> Section:
        """Section inside this one, empty where there is none."""
        found = self.values.get(name)
        if found is not None and not isinstance(found, dict):
            self.problems.append(f"{self.name}.{name} is {_shown(found)}, not an object")
        return Section(
            f"{self.name}.{name}", cast("dict[str, Any]", found) if isinstance(found, dict) else {}, self.problems
        )

    def refuse(self, **allowed: tuple[Any, ...]) -> None:
        """Note every setting that has none of the allowed values."""
        for name, values in allowed.items():
            if name in self.values and self.values[name] not in values:
                self.problems.append(f"{self.name}.{name} is {_shown(self.values[name])}, supported: {values[0]!r}")


class ConfigReader:
    """Reader of ``config.json`` that collects everything wrong with it, to be raised once."""

    def __init__(self, config: dict[str, Any]):
        self.config, self.problems = config, list[str]()

    def section(self, *names: str) -> Section:
        """Sub-configuration under the first of several spellings."""
        found = next((name for name in names if isinstance(self.config.get(name), dict)), None)
        if found is None:
            self.problems.append(f"{names[0]} is missing")
        return Section(found or names[0], self.config.get(found or "", {}) or {}, self.problems)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
