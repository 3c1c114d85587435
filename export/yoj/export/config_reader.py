"""Reading ``config.json`` with all of its spellings and all of its mistakes at once."""

from __future__ import annotations

from typing import Any


class Section:
    """One sub-configuration; what is missing or unsupported is noted in ``problems``."""

    def __init__(self, name: str, values: dict[str, Any], problems: list[str]):
        self.name, self.values, self.problems = name, values, problems

    def get(self, *names: str) -> Any:
        """The first of several spellings."""
        found = next((self.values[name] for name in names if self.values.get(name) is not None), None)
        if found is None:
            self.problems.append(f"{self.name}.{names[0]} is missing")
        return found

    def number(self, *names: str) -> Any:
        """Like `get`; 0 where it is missing, so that reading can go on and collect the other problems."""
        found = self.get(*names)
        if found is not None and (isinstance(found, bool) or not isinstance(found, int | float) or found <= 0):
            self.problems.append(f"{self.name}.{names[0]} is {found!r}, not a number above 0")
            return 0
        return found or 0

    def refuse(self, **allowed: tuple[Any, ...]) -> None:
        """Note every setting that is there and has none of the allowed values."""
        for name, values in allowed.items():
            if name in self.values and self.values[name] not in values:
                self.problems.append(f"{self.name}.{name} is {self.values[name]!r}, supported: {values[0]!r}")


class ConfigReader:
    """Reads ``config.json`` and collects everything that is wrong with it, to be raised once."""

    def __init__(self, config: dict[str, Any]):
        self.config, self.problems = config, list[str]()

    def section(self, *names: str) -> Section:
        """The first of several spellings of a sub-configuration."""
        found = next((name for name in names if isinstance(self.config.get(name), dict)), None)
        if found is None:
            self.problems.append(f"{names[0]} is missing")
        return Section(found or names[0], self.config.get(found or "", {}) or {}, self.problems)
