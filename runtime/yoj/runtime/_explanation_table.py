"""Explanation as text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from ._explanation import Explanation

WIDTH = 60
"""Most characters of a sentence that are shown."""


def table(explanation: Explanation) -> str:
    """Effects of all sentences and regions, as a small text table."""
    return "\n".join(_lines(explanation))


def _lines(explanation: Explanation) -> Iterator[str]:
    whole = explanation.judgement
    if explanation.sentences:
        yield "lead of its response that it gives    margin of the best without it    sentence"
    for one in explanation.sentences:
        margin = "-" if one.margin is None else f"{one.margin:.4f}"
        yield f"{one.effect:+9.4f}  {margin:>9}  response {one.response}  {_flat(one.text)}"
    for number, picture in enumerate(explanation.pictures):
        rows, columns = picture.grid
        yield f"{picture.name}: lead of response {whole.best} that each region gives, {rows} rows of {columns}"
        for row in explanation.effects(number):
            yield "".join(f"{effect:+9.4f}" for effect in row)
    yield f"explained with {explanation.passes} packs"
    yield from (f"note: {notice}" for notice in explanation.notices)


def _flat(text: str) -> str:
    flat = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return flat if len(flat) <= WIDTH else f"{flat[: WIDTH - 1]}…"
