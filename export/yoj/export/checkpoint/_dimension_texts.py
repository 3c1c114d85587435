"""Texts with which a judge asks for each of its dimensions, given by the person who exports it."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from yoj.runtime.manifest import Piece

from .._errors import CheckpointError

DIMENSIONS = "dimensions.json"
"""File beside the weights that has the texts."""
FIELD = "text_prompt"
"""Name of the place in a text where the prompt is quoted."""


@dataclass(frozen=True)
class DimensionText:
    """One dimension of a judge, and the text that asks for it."""

    name: str
    text: str
    """Text, in which ``{text_prompt}`` is the place of the prompt; braces are doubled, as ``str.format`` has them."""

    def pieces(self) -> Iterator[Piece]:
        """Text as pieces of a layout.

        Raises:
            ValueError: the text has another place than that of the prompt, or none.
        """
        fields = 0
        for literal, name, form, conversion in string.Formatter().parse(self.text):
            if literal:
                yield Piece(kind="text", value=literal)
            if name is None:
                continue
            if name != FIELD or form or conversion:
                raise ValueError(f"{name!r} in braces is no place that is filled; write braces of the text twice")
            fields += 1
            yield Piece(kind="prompt")
        if not fields:
            raise ValueError(f"it has no {{{FIELD}}}, so that the judge would not see the instruction")


def read_dimension_texts(file: Path) -> tuple[DimensionText, ...]:
    """Read ``[{"name": "instruction", "text": "... {text_prompt} ..."}, ...]``, in the order of the heads.

    Raises:
        CheckpointError: the file is missing or has another form.
    """
    try:
        found = msgspec.json.decode(file.read_bytes(), type=tuple[DimensionText, ...])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f'{file} cannot be read as [{{"name": "instruction", "text": "... {{{FIELD}}} ..."}}, ...]: {error}. Write '
            "the texts that the training put behind the pictures, one for each head."
        ) from error
    for number, one in enumerate(found):
        try:
            list(one.pieces())
        except ValueError as error:
            raise CheckpointError(f"{file}: text [{number}], of {one.name!r}: {error}.") from error
    return found


def text_of(asks: tuple[Piece, ...]) -> str:
    """Text of pieces, as `DimensionText.text` writes it; special tokens and what stands behind them are left out."""
    text = ""
    for piece in asks:
        if piece.kind == "token":
            break
        text += f"{{{FIELD}}}" if piece.kind == "prompt" else piece.value.replace("{", "{{").replace("}", "}}")
    return text
