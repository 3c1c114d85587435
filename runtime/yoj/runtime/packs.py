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

Members: TypeAlias = "tuple[int, ...]"
"""Indices of the responses of a pack, in the order in which they stand in it."""

ROUNDS = 4
"""Rounds that are enough for most of the accuracy: with 16 responses four rounds of packs of 4 choose the best in 87 %,
one pack of 16 in 51 %."""


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
        packs = [pack for _ in range(rounds) for pack in _partition(draw_order(n, source), size)]
        if is_connected(n, packs):
            return tuple(packs)


def _partition(order: Members, size: int) -> list[Members]:
    n = len(order)
    count = -(-n // size)
    bounds = [n * k // count for k in range(count + 1)]
    return [order[a:b] for a, b in itertools.pairwise(bounds) if b - a > 1]


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
    rows = [(p, k, score) for p, pack in enumerate(packs) for k, score in zip(pack, scores[p], strict=True)]
    pack_R, response_R = np.array([row[:2] for row in rows]).T
    score_R = np.array([row[2] for row in rows], np.float64)
    design_RX = np.zeros((len(rows), n + len(packs)))
    places = np.arange(len(rows))
    design_RX[places, response_R] = 1
    design_RX[places, n + pack_R] = 1
    solved_X = np.linalg.lstsq(design_RX, score_R, rcond=None)[0]
    # Of the solutions, which differ by what moves from the offsets to the scores, the one with the mean 0.
    mean = solved_X[:n].mean()
    rest_R = score_R - design_RX @ solved_X
    count_N = np.bincount(response_R, minlength=n)
    spread_N = np.sqrt(np.bincount(response_R, rest_R**2, n) / count_N)
    return Joined(solved_X[:n] - mean, solved_X[n:] + mean, spread_N)
