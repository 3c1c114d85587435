"""Results of a judge in a file, which grows record by record so that a run goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from yoj.evaluation import EvaluationError

Record: TypeAlias = "dict[str, Any]"
"""Figures of one way to read, or of one probe, at one N."""


class Results:
    """Records of one judge."""

    def __init__(self, file: Path, about: Mapping[str, Any]):
        """Open a file of results, or begin one.

        Args:
            file: JSON file.
            about: origin of the figures: the judge, and the items.

        Raises:
            EvaluationError: the file has results of another judge, or of other items.
        """
        self._file = file
        self._content: dict[str, Any] = {"about": dict(about), "records": []}
        if file.is_file():
            self._content = json.loads(file.read_text("utf-8"))
            was = self._content["about"]
            if unlike := sorted(key for key in was.keys() | about.keys() if was.get(key) != about.get(key)):
                told = "; ".join(f"{key} was {was.get(key)} and is {about.get(key)}" for key in unlike)
                raise EvaluationError(f"{file} has results of another run: {told}. Give another --results, or name.")

    def add(self, key: Mapping[str, Any], make: Callable[[], Record]) -> bool:
        """Make a record and write it, unless there is one of its key.

        Args:
            key: fields of the record that no other record has.
            make: function that takes long.

        Returns:
            Whether the record was made now.
        """
        if any(key.items() <= record.items() for record in self._content["records"]):
            return False
        self._content["records"].append(dict(key) | make())
        self._file.parent.mkdir(parents=True, exist_ok=True)
        spare = self._file.with_name(f".{self._file.name}.tmp")
        spare.write_text(json.dumps(self._content, indent=1, allow_nan=False) + "\n", "utf-8")
        spare.replace(self._file)
        return True


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Content of all files of results by the name of the judge, in the order of the names.

    Raises:
        EvaluationError: there are none.
    """
    found = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))}
    if not found:
        raise EvaluationError(f"{folder} has no results; run `python -m experiments.any_n run NAME=BUNDLE` first.")
    return found
