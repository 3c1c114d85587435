"""Packs of some of many responses, and one scale for all of them.

A judge that was trained on few responses loses most of its accuracy where one pack holds many more. So many responses
are read in several packs of few, each response in more than one, and the scores are joined: those of one pack compare,
and differ between packs by an offset.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import RequestError

Members: TypeAlias = "tuple[int, ...]"
"""Indices of the responses of a pack, in the order in which they stand in it."""

ROUNDS = 4
"""Rounds where nothing else is said: more of them even out which responses happened to stand together."""


@dataclass(frozen=True)
class Joined:
    """Scores of N responses on one scale."""

    scores_N: NDArray[np.float64]
    """Scores with the mean 0."""
    offsets_P: NDArray[np.float64]
    """Offset of each pack: its scores are those of its responses and this."""
    spread_N: NDArray[np.float64]
    """Root mean square of what remains of each response's scores; 0 where it stands in one pack alone."""


def draw_order(n: int, source: random.Random) -> Members:
    """Draw a random order of N responses.

    Only ``random()`` is asked, whose values for a seed are the same in every version of Python.
    """
    keys = [source.random() for _ in range(n)]
    return tuple(sorted(range(n), key=keys.__getitem__))


def draw_packs(n: int, size: int, rounds: int, source: random.Random) -> tuple[Members, ...]:
    """Draw packs of N responses, so that every two responses are compared, if through others.

    Each round is a random partition into as few packs as possible, of sizes that differ by 1 at most. A pack of one
    response says nothing and is left out.

    Args:
        n: number of responses, above ``size``.
        size: most responses of a pack, from 2.
        rounds: number of rounds, from 2.
        source: source of randomness.

    Raises:
        ValueError: a number is too small, so that the packs cannot be connected.
    """
    if size < 2 or rounds < 2 or n <= size:
        raise ValueError(f"n is {n}, size {size}, rounds {rounds}; give n above size, and size and rounds from 2.")
    while True:  # a few times at most: two rounds of pairs are connected in one of some draws, more rounds in most
        packs = [pack for _ in range(rounds) for pack in partition(draw_order(n, source), size) if len(pack) > 1]
        if is_connected(n, packs):
            return tuple(packs)


def rounds_within(n: int, size: int, passes: int | None) -> int:
    """Number of rounds of packs that a budget of passes allows, each of which reads one pack.

    Args:
        n: number of responses, above ``size``.
        size: most responses of a pack, from 2.
        passes: most packs; None for `ROUNDS` rounds.

    Raises:
        RequestError: the budget is below two rounds, with which packs cannot be connected.
    """
    of_a_round = -(-n // size)
    if passes is None:
        return ROUNDS
    if isinstance(passes, bool) or not isinstance(passes, int) or passes < 2 * of_a_round:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RequestError(
            f"passes is {passes!r}; N={n} responses in packs of {size} take {of_a_round} for each of at least two "
            f"rounds: give a number from {2 * of_a_round}."
        )
    return passes // of_a_round


def draw_groups(n: int, size: int, passes: int | None) -> tuple[Members, ...]:
    """Draw packs of N responses that are the same for all requests of these numbers.

    Args:
        n: number of responses, above ``size``.
        size: most responses of a pack, from 2.
        passes: most packs; see `rounds_within`.

    Raises:
        RequestError: the budget of passes is too small.
    """
    return draw_packs(n, size, rounds_within(n, size, passes), random.Random(f"{n} {size}"))


def partition(order: Members, size: int) -> list[Members]:
    """Split responses into as few packs of at most ``size`` as possible, whose sizes differ by 1 at most."""
    n = len(order)
    count = -(-n // size)
    bounds = [n * k // count for k in range(count + 1)]
    return [order[a:b] for a, b in itertools.pairwise(bounds)]


def is_connected(n: int, packs: Sequence[Members]) -> bool:
    """Whether every two of N responses are compared by packs, if through others."""
    reached, waiting = {0}, [0]
    while waiting:
        response = waiting.pop()
        found = {other for pack in packs if response in pack for other in pack} - reached
        reached |= found
        waiting += found
    return len(reached) == n


def join(n: int, packs: Sequence[Members], scores: Sequence[Sequence[float]]) -> Joined:
    """Join the scores of packs on one scale, by least squares with an offset for each pack.

    Where each pack holds all responses these are the means of scores that are centred in each.

    Args:
        n: number of responses.
        packs: packs that connect all responses.
        scores: scores of each pack, by place in it.

    Raises:
        ValueError: the packs do not connect the responses, or a pack has another number of scores than of responses.
    """
    if not is_connected(n, packs):
        raise ValueError(f"The packs {list(packs)} do not connect {n} responses, so that their scores do not compare.")
    laplacian_NN, sum_N = np.zeros((n, n)), np.zeros(n)
    centred: list[NDArray[np.float64]] = []
    for pack, values in zip(packs, scores, strict=True):
        if len(pack) != len(values):
            raise ValueError(f"The pack {pack} has {len(values)} scores.")
        own = list(pack)
        laplacian_NN[own, own] += 1
        laplacian_NN[np.ix_(own, own)] -= 1 / len(own)
        values_M = np.asarray(values, np.float64)
        centred.append(values_M - values_M.mean())
        sum_N[own] += centred[-1]
    # The normal equations without the offsets leave a constant open; what is added makes it 0.
    scores_N: NDArray[np.float64] = np.linalg.solve(laplacian_NN + 1 / n, sum_N).astype(np.float64)
    offsets_P = [np.mean(values) - scores_N[list(pack)].mean() for pack, values in zip(packs, scores, strict=True)]
    squares_N, count_N = np.zeros(n), np.zeros(n)
    for pack, values_M in zip(packs, centred, strict=True):
        own = list(pack)
        squares_N[own] += (values_M - scores_N[own] + scores_N[own].mean()) ** 2
        count_N[own] += 1
    return Joined(scores_N, np.array(offsets_P), np.sqrt(squares_N / count_N))
