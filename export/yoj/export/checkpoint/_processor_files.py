"""Processor files of a checkpoint: the file that counts for each part, and its settings.

The rule is that of transformers' ``AutoProcessor``: a part that stands inside ``processor_config.json``, where 5.x
saves it, is all there is, and a file of its own counts only where none does; nothing of the two is ever mixed. A
setting that is left out has the default of the processor's class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from .._errors import CheckpointError
from ._text_files import read_json
from .checkpoint import ADAPTER_CONFIG, Checkpoint

UNIFIED = "processor_config.json"
"""File with the processor's own settings and, since transformers 5, all of its parts."""
IMAGE_FILE, VIDEO_FILE = "preprocessor_config.json", "video_preprocessor_config.json"
ALWAYS = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
"""Steps that the runtime does to every picture, so that a file may not say otherwise."""


@dataclass(frozen=True)
class ProcessorPart:
    """Settings of one part of a processor; problems with them are noted in ``problems``."""

    file: Path
    section: str | None
    """Part: ``image_processor`` or ``video_processor``; None for the processor's own settings."""
    nested: bool
    """Whether the part stands inside the file; else the file holds nothing else."""
    values: Mapping[str, Any]
    problems: list[str] = field(default_factory=list[str])

    @property
    def place(self) -> str:
        """Folder, file and part, without a path of this machine."""
        file = f"{self.file.parent.resolve().name}/{self.file.name}"
        return f"{self.section} of {file}" if self.nested else file

    def problem(self, name: str, expected: str) -> None:
        """Note a setting that has another value than it may have."""
        path = f"{self.section}.{name}" if self.nested else name
        whose = f"{self.section.replace('_', ' ')}: " if self.section and not self.nested else ""
        self.problems.append(f"{whose}{path} is {self.values.get(name)!r}, expected {expected}")

    def number(self, name: str, default: float) -> float:
        """Finite number above 0."""
        return self._checked(name, default, lambda value: _finite(value) and value > 0, "a number above 0")

    def count(self, name: str, default: int) -> int:
        """Whole number above 0."""
        return self._checked(name, default, is_count, "a whole number above 0")

    def flag(self, name: str, default: bool) -> bool:
        """Value that is true or false."""
        return self._checked(name, default, lambda value: isinstance(value, bool), "true or false")

    def pair(self, name: str, default: tuple[int, int], least: int) -> tuple[int, int]:
        """Two whole numbers, none below the least."""
        expected = f"two whole numbers of at least {least}"
        value = self._checked(name, default, lambda v: _listed(v, 2, lambda x: _whole(x) and x >= least), expected)
        return value[0], value[1]

    def channels(self, name: str, default: tuple[float, float, float], positive: bool) -> tuple[float, ...]:
        """Finite number for each of red, green and blue, or one for all."""

        def fits(value: Any) -> bool:
            return _finite(value) and (value > 0 or not positive)

        expected = f"three finite numbers{' above 0' if positive else ''}"
        value = self._checked(name, default, lambda v: fits(v) or _listed(v, 3, fits), expected)
        return tuple(map(float, value)) if isinstance(value, list | tuple) else (float(value),) * 3

    def demand(self, expected: Mapping[str, Any]) -> None:
        """Note every setting that has another value."""
        for name, value in expected.items():
            if name in self.values and not _same(self.values[name], value):
                self.problem(name, repr(value))

    def demand_class(self, key: str, names: Sequence[str]) -> None:
        """Note a class of processor that the runtime does not follow; where none is named, ``config.json`` says it."""
        if self.values.get(key) not in (None, *names):
            self.problem(key, " or ".join(names))

    def _checked(self, name: str, default: Any, fits: Callable[[Any], bool], expected: str) -> Any:
        value = self.values.get(name, default)
        if fits(value):
            return value
        self.problem(name, expected)
        return default


def find_part(checkpoint: Checkpoint, section: str, *names: str) -> ProcessorPart:
    """Find one part of a checkpoint's processor: of the last adapter, or else of the base.

    Args:
        checkpoint: checkpoint whose folders are searched.
        section: name of the part inside ``processor_config.json``.
        names: the part's own files, best first. All but the first belong to another part, from which transformers takes
            what no file says: they count only where no folder has anything better.

    Raises:
        CheckpointError: there is no such part, or it cannot be read.
    """
    folders = checkpoint.places
    for folder in folders:
        if (unified := folder / UNIFIED).is_file() and (values := read_json(unified).get(section)) is not None:
            if not isinstance(values, dict):
                raise CheckpointError(f"{unified}: {section} is {values!r}, expected an object. {COPY}")
            return ProcessorPart(unified, section, True, values)
        if (file := folder / names[0]).is_file():
            return ProcessorPart(file, section, False, read_json(file))
    for folder in folders:
        for file in (folder / name for name in names[1:]):
            if file.is_file():
                return ProcessorPart(file, section, False, read_json(file))
    raise CheckpointError(_missing(checkpoint, folders, section, names[0]))


def find_own(checkpoint: Checkpoint) -> ProcessorPart:
    """Find the processor's own settings, those of no part: of the last adapter, or else of the base.

    Raises:
        CheckpointError: there is no ``processor_config.json``.
    """
    file = checkpoint.file(UNIFIED)
    return ProcessorPart(file, None, False, read_json(file))


def require(parts: Sequence[ProcessorPart]) -> None:
    """Refuse a checkpoint whose parts have problems.

    Raises:
        CheckpointError: there are problems; all are listed, file by file.
    """
    wrong: dict[Path, list[str]] = {}
    for part in parts:
        wrong.setdefault(part.file, []).extend(part.problems)
    told = [
        f"{file} does not fit config.json or cannot be followed: {'; '.join(problems)}"
        for file, problems in wrong.items()
        if problems
    ]
    if told:
        raise CheckpointError(f"{'. '.join(told)}. {COPY}")


COPY = "Copy the file from the model that was trained."


def _missing(checkpoint: Checkpoint, folders: Sequence[Path], section: str, name: str) -> str:
    adapter = folders[0] / ADAPTER_CONFIG
    named = read_json(adapter).get("base_model_name_or_path") if adapter.is_file() else None
    base = named or checkpoint.config.get("_name_or_path") or "its base model"
    return (
        f"{name} is missing in {' and '.join(map(str, folders))}, and no {UNIFIED} there has {section}: nothing says "
        f"how pictures were prepared in training, and scores depend on it. Copy {UNIFIED}, {IMAGE_FILE} and "
        f"{VIDEO_FILE}, as many as there are, from the model that was trained, or from {base} if the training left "
        "them as they were."
    )


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number above 0; true and false are none."""
    return _whole(value) and value > 0


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(value: Any, length: int, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list | tuple) and len(value) == length and all(map(fits, value))


def _same(value: Any, expected: Any) -> bool:
    """Equality in which true and false equal only themselves: for Python, 1 equals True."""
    return value == expected and isinstance(value, bool) == isinstance(expected, bool)
