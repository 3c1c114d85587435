"""Predictions of a run: one JSON object a line for each item, from which a run goes on and runs are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from yoj.runtime import Request

from ._errors import EvaluationError
from ._items import Item, Pass, Scored

PREDICTIONS = "predictions.jsonl"


class PassLine(msgspec.Struct, frozen=True):
    """One reading of an item; see `yoj.evaluation.Pass`."""

    order: tuple[int, ...]
    scores: tuple[float, ...]


class Prediction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Line of the file: an item without its request, and what the judge made of it."""

    key: str
    id: str
    group: str
    category: str
    ranks: tuple[float, ...]
    passes: tuple[PassLine, ...]
    """Readings; none where the judge failed."""
    error: str | None
    """Reason for which there are no scores."""
    temperature: float
    """Temperature of the judge's probabilities, in units of the score."""
    calibrated: bool
    """Whether it was fitted."""
    notices: tuple[str, ...]
    """Notices of what the judge read otherwise than it may have been meant, in any of the readings."""
    milliseconds: float
    """Time of all readings: that of the items that were scored together, shared equally."""
    frames: tuple[int, int] | None
    """Frames of the item's videos: given to the judge, and read by it; None without a video."""
    native: Any
    """Fields of the file that the figures need."""

    def scored(self, item: Item | None = None) -> Scored:
        """Judged item.

        Args:
            item: the item; None for one without its request, which figures do not need.
        """
        if item is None:
            item = Item(self.key, self.id, self.group, self.category, Request("", ()), self.ranks, self.native)
        return Scored(item, tuple(Pass(one.order, one.scores) for one in self.passes), self.error)


def encode(prediction: Prediction) -> bytes:
    """Line of a prediction, with its line feed."""
    return msgspec.json.encode(prediction, enc_hook=_encoded) + b"\n"


def why_unwritable(item: Item) -> str | None:
    """Reason why no line can hold an item's names and native fields, such as half of a character; None where one can.

    A run that met it between two items would stop there.
    """
    try:
        msgspec.json.encode([item.key, item.id, item.group, item.category, item.native], enc_hook=_encoded)
    except (UnicodeEncodeError, TypeError, NotImplementedError, msgspec.MsgspecError) as error:
        return str(error)
    return None


def _encoded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {**value}
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def read_predictions(file: Path) -> list[Prediction]:
    """Read the predictions of a file. A last line that a killed run left half-written is passed over.

    Raises:
        EvaluationError: the file cannot be read, or holds something else.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise EvaluationError(f"{file} cannot be read: {error.strerror or error}. Give the folder of a run.") from error
    lines = text[: text.rfind(b"\n") + 1].splitlines()
    found: list[Prediction] = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(msgspec.json.decode(line, type=Prediction))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EvaluationError(
                f"{file}, line {number}, is no prediction of this version of yoj: {error}. Choose another folder."
            ) from error
    return found


def write_predictions(file: Path, predictions: Iterable[Prediction]) -> None:
    """Write a file of predictions in the place of the one that is there, all at once."""
    spare = file.with_name(f".{file.name}.tmp")
    spare.write_bytes(b"".join(map(encode, predictions)))
    spare.replace(file)
