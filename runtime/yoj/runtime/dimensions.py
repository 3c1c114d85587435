"""Named dimensions of a judge: the rows that they are read from, and the one score that is made of them.

Where a judge asks another question for each dimension, a row of tokens ends with one of the questions, and each
dimension is read from its own row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import RequestError
from .manifest import Dimension, Piece, Pooling, ValueHead

Outputs: TypeAlias = "dict[str, NDArray[Any]]"
"""Outputs of a scorer graph by name: ``scores`` and, of a Gaussian head, ``spread``."""


@dataclass(frozen=True)
class Asks:
    """Questions that stand behind the responses of a row."""

    rows: tuple[tuple[Piece, ...], ...] = ((),)
    """Distinct questions, each of which takes a row of its own; one empty question where nothing is asked."""
    reads_token: bool = False
    """Whether the special token of a question is read, and not the last token behind it."""

    def of(self, dimension: Dimension) -> int:
        """Number of the row, among those of one order, from which a dimension is read."""
        return self.rows.index(dimension.asks)


def asks_of(head: ValueHead) -> Asks:
    """Questions of a head, in the order in which their dimensions come."""
    rows = tuple(dict.fromkeys(dimension.asks for dimension in head.dimensions))
    return Asks(rows or ((),), head.readout == "token")


def check_dimension(name: str | None, head: ValueHead | None) -> None:
    """Refuse a dimension that a head has not.

    Raises:
        RequestError: there is none of that name; the text has those that there are.
    """
    known = [one.name for one in head.dimensions] if head else []
    if name is not None and name not in known:
        has = (
            f"the head of this bundle has {', '.join(known)}. Give one of them, or leave it out"
            if known
            else "this bundle has one score, and no dimensions. Leave it out"
        )
        raise RequestError(f"dimension is {name!r}; {has}.")


def by_dimension(outputs: Mapping[str, NDArray[Any]], head: ValueHead) -> dict[str, Outputs]:
    """Split the outputs of a scorer graph by dimension.

    Args:
        outputs: outputs of the rows of one request, each float32 [R, N, J]: for each order a row for each question.
        head: value head with named dimensions.

    Returns:
        Name of each dimension -> its outputs, float32 [K, N] with a row for each of K orders.
    """
    asks = asks_of(head)
    return {
        dimension.name: {
            name: values_RNJ[asks.of(dimension) :: len(asks.rows), :, place] for name, values_RNJ in outputs.items()
        }
        for place, dimension in enumerate(head.dimensions)
    }


def pool(dimensions: Sequence[Outputs], pooling: Pooling) -> Outputs:
    """Pool the dimensions of each response into its score; sigmas as those of independent values.

    Args:
        dimensions: outputs of each dimension, ``scores`` and, of a Gaussian head, ``spread``, each float32 [K, N].
        pooling: ``mean``, ``sum``, or ``min``, which gives score and sigma of the lowest dimension.

    Returns:
        The same outputs of the pooled score, float32 [K, N].
    """
    stacked = {name: np.stack([one[name] for one in dimensions]) for name in dimensions[0]}
    scores_JKN = stacked["scores"]
    if pooling == "min":
        lowest_1KN = scores_JKN.argmin(axis=0, keepdims=True)
        return {name: np.take_along_axis(values, lowest_1KN, axis=0)[0] for name, values in stacked.items()}
    count = np.float32(len(dimensions) if pooling == "mean" else 1)
    pooled = {"scores": scores_JKN.sum(axis=0) / count}
    if "spread" in stacked:
        pooled["spread"] = np.sqrt((stacked["spread"] ** 2).sum(axis=0)) / count
    return pooled


def pooled(outputs: Outputs, head: ValueHead) -> Outputs:
    """Outputs of the score that ranks, float32 [K, N]: pooled where dimensions are named, else as they are.

    Args:
        outputs: outputs of the rows of one request; see `by_dimension`.
        head: value head.
    """
    return pool([*by_dimension(outputs, head).values()], head.pooling) if head.dimensions else outputs
