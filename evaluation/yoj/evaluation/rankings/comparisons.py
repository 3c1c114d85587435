"""Votes of people on the responses to one prompt, counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._errors import EvaluationError

Name: TypeAlias = "str | int"
Floats: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True)
class Vote:
    """One vote of one annotator."""

    ranked: tuple[str, ...]
    """Two or more candidates, the best first; the two of a tie in any order."""
    tied: bool = False
    annotator: str | None = None

    def __post_init__(self) -> None:
        """Check the candidates.

        Raises:
            EvaluationError: there are fewer than two, one comes twice, or more than two are tied.
        """
        if len(self.ranked) < 2:
            raise EvaluationError(f"The vote is on {list(self.ranked)}. A vote compares two candidates or more.")
        if len({*self.ranked}) < len(self.ranked):
            twice = next(name for name in self.ranked if self.ranked.count(name) > 1)
            raise EvaluationError(f"The candidate {twice!r} is compared with itself.")
        if self.tied and len(self.ranked) > 2:
            raise EvaluationError(f"{len(self.ranked)} candidates are tied. Only votes on two can be ties.")


@dataclass(frozen=True)
class VoteCounts:
    """Numbers of equal votes, of R sets of votes on the same N candidates."""

    wins_RNN: Floats
    """Votes on two by which the row is better than the column."""
    ties_RNN: Floats
    """Votes on two by which row and column are equal; each stands above the diagonal."""
    lists_RB: Floats
    """Votes on three and more that are the same, for each of B lists."""


@dataclass(frozen=True)
class Comparisons:
    """All votes on the candidates of one item. The order in which they came makes no difference."""

    item: Name | None
    """Name of the item; None where the votes on all items count together."""
    candidates: tuple[str, ...]
    """[N] names in alphabetical order: those that any vote compares."""
    counts: VoteCounts
    """Numbers of votes, with R = 1."""
    lists: tuple[tuple[int, ...], ...] = ()
    """[B] different rankings of three and more candidates, indices with the best first."""
    annotators: frozenset[str] = frozenset()
    """Names of the annotators."""
    unnamed: int = 0
    """Number of votes without an annotator."""

    @property
    def votes(self) -> int:
        """Number of votes, lists and ties included."""
        return self.listed + self.ties + round(float(self.counts.wins_RNN.sum()))

    @property
    def ties(self) -> int:
        """Number of votes on two that are ties."""
        return round(float(self.counts.ties_RNN.sum()))

    @property
    def listed(self) -> int:
        """Number of votes on three and more."""
        return round(float(self.counts.lists_RB.sum()))


def count_votes(item: Name | None, votes: Iterable[Vote]) -> Comparisons:
    """Count the votes on one item.

    Args:
        item: name of the item.
        votes: one vote or more.
    """
    votes = list(votes)
    candidates = tuple(sorted({name for vote in votes for name in vote.ranked}))
    place = {name: index for index, name in enumerate(candidates)}
    pairs: list[tuple[int, int, bool]] = []
    lists: dict[tuple[int, ...], int] = {}
    for vote in votes:
        ranked = tuple(place[name] for name in vote.ranked)
        if len(ranked) == 2:
            pairs.append((ranked[0], ranked[1], vote.tied))
        else:
            lists[ranked] = lists.get(ranked, 0) + 1
    pairs_V3 = np.array(pairs, np.int64).reshape(-1, 3)
    counted = count_pairs(len(candidates), pairs_V3[:, 0], pairs_V3[:, 1], pairs_V3[:, 2] == 1)
    ordered = sorted(lists)
    lists_RB = np.array([[lists[one] for one in ordered]], np.float64)
    names = [vote.annotator for vote in votes]
    return Comparisons(
        item,
        candidates,
        VoteCounts(counted.wins_RNN, counted.ties_RNN, lists_RB),
        tuple(ordered),
        frozenset(name for name in names if name is not None),
        names.count(None),
    )


def count_pairs(
    n: int, better_V: NDArray[np.int64], worse_V: NDArray[np.int64], tied_V: NDArray[np.bool_]
) -> VoteCounts:
    """Count V votes on two of N candidates.

    Args:
        n: number of candidates.
        better_V: index of the better candidate, or of either of a tie.
        worse_V: index of the other.
        tied_V: whether the vote is a tie.
    """
    wins_NN, ties_NN = np.zeros((n, n)), np.zeros((n, n))
    np.add.at(wins_NN, (better_V[~tied_V], worse_V[~tied_V]), 1)
    low_V, high_V = np.minimum(better_V, worse_V), np.maximum(better_V, worse_V)
    np.add.at(ties_NN, (low_V[tied_V], high_V[tied_V]), 1)
    return VoteCounts(wins_NN[None], ties_NN[None], np.zeros((1, 0)))


def redraw(comparisons: Comparisons, resamples: int, source: np.random.Generator) -> VoteCounts:
    """Draw as many votes as there are with replacement, R times.

    Args:
        comparisons: the votes.
        resamples: number R.
        source: source of randomness.
    """
    own = comparisons.counts
    parts = [own.wins_RNN.ravel(), own.ties_RNN.ravel(), own.lists_RB.ravel()]
    cells_C = np.concatenate(parts)
    drawn_RC = np.zeros((resamples, len(cells_C)))
    there_C = np.flatnonzero(cells_C)  # most cells of many candidates are empty, and each would cost a draw
    votes = cells_C.sum()
    drawn_RC[:, there_C] = source.multinomial(round(float(votes)), cells_C[there_C] / votes, size=resamples)
    n = len(comparisons.candidates)
    square = (resamples, n, n)
    return VoteCounts(
        drawn_RC[:, : n * n].reshape(square),
        drawn_RC[:, n * n : 2 * n * n].reshape(square),
        drawn_RC[:, 2 * n * n :],
    )


@dataclass(frozen=True)
class ListCells:
    """Cells of a table that lists add to: one entry for each part of each list."""

    cells: list[int] = field(default_factory=list[int])
    """Flat index of each entry's cell."""
    owners: list[int] = field(default_factory=list[int])
    """Index of its list."""

    def add(self, cell: int, owner: int) -> None:
        """Add an entry."""
        self.cells.append(cell)
        self.owners.append(owner)

    def total(self, lists_RB: Floats, size: int) -> Floats:
        """Votes in each cell, float64 [R, size], of lists that were given so many times."""
        if not self.cells:
            return np.zeros((len(lists_RB), size))
        return np.stack([np.bincount(self.cells, row_B[self.owners], size).astype(np.float64) for row_B in lists_RB])


def list_pairs(lists: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, int, int]]:
    """Index of the list, better and worse candidate of all pairs in lists."""
    for owner, ranked in enumerate(lists):
        for place, better in enumerate(ranked):
            yield from ((owner, better, worse) for worse in ranked[place + 1 :])


def pair_wins(counts: VoteCounts, lists: Sequence[tuple[int, ...]]) -> Floats:
    """Wins of the row over the column, float64 [R, N, N].

    A tie is half a win for both, a list of M one vote on each of its M (M - 1) / 2 pairs.
    """
    wins_RNN = counts.wins_RNN + (counts.ties_RNN + counts.ties_RNN.transpose(0, 2, 1)) / 2
    if lists:
        n, entries = wins_RNN.shape[1], ListCells()
        for owner, better, worse in list_pairs(lists):
            entries.add(better * n + worse, owner)
        wins_RNN = wins_RNN + entries.total(counts.lists_RB, n * n).reshape(wins_RNN.shape)
    return wins_RNN
