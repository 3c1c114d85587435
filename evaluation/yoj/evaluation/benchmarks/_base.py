"""Record of a benchmark: how its files are read, what is computed of scores, and what its own scripts read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from .._items import Item, Refusal, Scored

TieRule = Literal["wrong", "right", "share"]
"""Credit of an item where a worse response has the highest score too: none, all of it, or 1 over the number of
responses that have it."""
FieldMap: TypeAlias = "Mapping[str, str]"
"""Name that yoj knows a field by -> the field's name in the file."""


@dataclass(frozen=True)
class Figures:
    """Figures of a benchmark, by its own rules."""

    headline: str
    """Name of the figure that the benchmark is known by, one of ``values``."""
    values: dict[str, float]
    """Figures by name, in the order in which they are shown, as shares from 0 to 1 unless the benchmark says otherwise.
    Those of a category are named ``category/NAME``."""
    counts: dict[str, int]
    """Denominator of each figure: items or groups, whether or not the judge could score them."""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark."""

    name: str
    """Name on the command line."""
    title: str
    told: str
    """Content and rules in a sentence."""
    hub: str | None
    """Repository of its data set on the Hugging Face hub; None where there is none."""
    patterns: tuple[str, ...]
    """Patterns of the files that are downloaded of it."""
    fields: tuple[str, ...]
    """Fields that a field map may rename, by the names that the published file has, or that are supposed."""
    ties: TieRule
    """Rule for ties of its official script, or the one that is taken where it publishes none."""
    read: Callable[[Path, FieldMap], Iterator[Item | Refusal]]
    """Function from its file or folder, and renamed fields, to items.

    Raises `EvaluationError` where the schema is another one, by the name of the missing key."""
    measure: Callable[[Sequence[Scored], TieRule], Figures]
    """Function from all items to its figures. An item that the judge could not score counts as wrong."""
    write_official: Callable[[Sequence[Scored], Path], Sequence[Path]]
    """Function that writes predictions into a folder in the format that the official script reads; returns the files.
    Items without scores are left out, as the scripts expect."""
    orders: int = 1
    """Number of orders that the official figure needs; 2: each pair is read in both."""
    ties_published: bool = True
    """Whether it publishes a rule for ties."""
    unsure: str = ""
    """Parts of its schema or rules that could not be confirmed, as a phrase that every report shows; or empty."""


def credit(scored: Scored, ties: TieRule) -> float:
    """Credit for the first response of a scored item: 1 where the highest score is that of a best-ranked response.

    0 where the judge failed. Where several responses have the highest score, ``ties`` decides.
    """
    if scored.scores is None:
        return 0.0
    return credit_of(scored.scores, scored.item.ranks, ties)


def credit_of(scores: Sequence[float], ranks: Sequence[float], ties: TieRule) -> float:
    """Credit of scores [N] against ranks [N]; see `credit`."""
    # Plain Python, seven times as fast as NumPy for so few numbers: intervals count each item a thousand times.
    highest, best = max(scores), min(ranks)
    hits = [rank == best for score, rank in zip(scores, ranks, strict=True) if score == highest]
    share = sum(hits) / len(hits)
    return share if share in (0.0, 1.0) else {"wrong": 0.0, "right": 1.0, "share": share}[ties]
