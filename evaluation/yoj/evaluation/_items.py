"""Items of a benchmark, and what a judge made of them.

Data goes one way: rows of the published files -> `Item` -> `Scored` -> figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yoj.runtime import Request


@dataclass(frozen=True)
class Item:
    """Prompt of a benchmark with N responses, and which of them people prefer."""

    key: str
    """Name of the item, of which no other item of the benchmark has the same."""
    id: str
    """Name that the benchmark gives it, which others may have too."""
    group: str
    """Name that is shared by the items which count together, such as all pairs of one prompt; its key where it counts
    alone. Intervals are drawn over groups."""
    category: str
    """Category by which figures are told apart."""
    request: Request
    """Prompt, media and responses, these in the order of the file."""
    ranks: tuple[float, ...]
    """[N] ranks of the responses, 1 = best; equal ones are ties."""
    native: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields of the file, by their names there, that the official scripts or the figures need."""


@dataclass(frozen=True)
class Refusal:
    """Row of a benchmark that cannot be scored."""

    row: int
    """Number of the row in its file, from 1."""
    id: str | None
    kind: str
    """Kind of fault in a word or two, to count by."""
    text: str
    """Fault as a phrase, with values."""


@dataclass(frozen=True)
class Pass:
    """One reading of an item."""

    order: tuple[int, ...]
    """[N] index of the response that stood in each place."""
    scores: tuple[float, ...]
    """[N] scores in the order of the file, as the judge gave them."""


@dataclass(frozen=True)
class Scored:
    """Item with what the judge said of it."""

    item: Item
    passes: tuple[Pass, ...] = ()
    """Readings in the orders that were drawn; none where the judge failed."""
    error: str | None = None
    """Reason for which there are no scores; None where there are."""

    @property
    def scores(self) -> tuple[float, ...] | None:
        """[N] scores of the first reading, which the official figures count; None where the judge failed."""
        return self.passes[0].scores if self.passes else None

    @property
    def averaged_N(self) -> NDArray[np.float64] | None:
        """Scores averaged over all readings, float64 [N], each of which was centred; None where the judge failed."""
        if not self.passes:
            return None
        scores_KN = np.array([one.scores for one in self.passes], np.float64)
        averaged_N: NDArray[np.float64] = (scores_KN - scores_KN.mean(axis=1, keepdims=True)).mean(axis=0)
        return averaged_N
