"""Several orders of the responses, and one judgement from all of them."""

from __future__ import annotations

import itertools
import numbers
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import RequestError
from .packs import Members, join

Orders: TypeAlias = "int | Literal['all']"
MAX_ALL = 4
"""Most responses for which all N! orders may be asked: 24 rows."""


@dataclass(frozen=True)
class Averaged:
    """Scores of N responses over k rows, which hold all of them in some order, or some of them each."""

    scores_N: NDArray[np.float32]
    """Scores as they are with one row; with several, their mean after each row was centred on 0, or, where rows hold
    some of the responses, the scores that were joined by `yoj.runtime.packs.join`."""
    spread_N: NDArray[np.float32] | None
    """Standard deviation of the centred scores over the rows, or root mean square of what joining left of them; None
    with one row."""
    agreement: float | None
    """Share of the rows whose best response is, of theirs, the best by ``scores_N``; None with one row."""


def draw_orders(n: int, orders: Orders) -> tuple[tuple[int, ...], ...]:
    """Plan the orders in which to read N responses.

    Args:
        n: number of responses.
        orders: number of rotations, spread so that each response visits places far from each other; or all N! orders.

    Returns:
        For each order, the index of the response that stands in each place. The first is the order as given.

    Raises:
        RequestError: fewer than one order, more rotations than there are, or all orders of too many responses.
    """
    if orders == "all":
        if n > MAX_ALL:
            raise RequestError(f"orders='all' is for up to {MAX_ALL} responses, here N={n}; give a number up to {n}.")
        return tuple(itertools.permutations(range(n)))
    if isinstance(orders, bool) or not isinstance(orders, numbers.Integral) or orders < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RequestError(f"orders is {orders!r}; give a number from 1 or 'all'.")
    if orders > n:
        raise RequestError(
            f"orders={orders}, but N={n} responses can be rotated in {n} ways; give at most {n}"
            + (", or 'all'." if 2 < n <= MAX_ALL else ".")
        )
    return tuple(tuple((place + turn * n // orders) % n for place in range(n)) for turn in range(orders))


def average(scores_KN: NDArray[np.float32], orders: tuple[Members, ...]) -> Averaged:
    """Assign the scores of each row to the responses that they belong to, and average or join them.

    Args:
        scores_KN: float32 [k, N] scores by place in each row; places beyond a row's own are not read.
        orders: index of the response in each place of each row, from `draw_orders` or `yoj.runtime.packs.draw_packs`.
    """
    n = 1 + max(map(max, orders))
    if any(len(order) < n for order in orders):
        return _joined(n, [scores_N[: len(order)] for scores_N, order in zip(scores_KN, orders, strict=True)], orders)
    if len(orders) == 1:
        return Averaged(scores_KN[0], None, None)
    by_response_KN = by_response(scores_KN, orders)
    centred_KN = by_response_KN - by_response_KN.mean(axis=1, keepdims=True)
    mean_N = centred_KN.mean(axis=0)
    agreement = float((centred_KN.argmax(axis=1) == mean_N.argmax()).mean())
    return Averaged(mean_N, centred_KN.std(axis=0), agreement)


def _joined(n: int, scores: list[NDArray[np.float32]], packs: tuple[Members, ...]) -> Averaged:
    joined = join(n, packs, [scores_M.tolist() for scores_M in scores])
    scores_N = joined.scores_N.astype(np.float32)
    agreed = [scores_M.argmax() == scores_N[list(pack)].argmax() for scores_M, pack in zip(scores, packs, strict=True)]
    return Averaged(scores_N, joined.spread_N.astype(np.float32), float(np.mean(agreed)))


def by_response(rows_KN: NDArray[np.float32], orders: tuple[Members, ...]) -> NDArray[np.float32]:
    """Values by response, float32 [k, N], from values by place in each row; NaN where a row lacks a response."""
    by_response_KN = np.full((len(orders), 1 + max(map(max, orders))), np.nan, np.float32)
    for row, order in enumerate(orders):
        by_response_KN[row, list(order)] = rows_KN[row, : len(order)]
    return by_response_KN
