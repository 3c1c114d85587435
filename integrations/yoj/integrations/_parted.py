"""Groups whose rows may be on several ranks, found by what their rows have in common."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from yoj.runtime import RequestError

T = TypeVar("T")


class PartedGroups:
    """Groups of one call, as every rank finds them alike. Rows are counted over all ranks."""

    def __init__(self, digests: Sequence[Sequence[bytes]], rank: int):
        """Find the groups.

        Args:
            digests: for each rank, the digest of each of its rows; those of a group have the same.
            rank: number of this rank.
        """
        self._bounds = [*itertools.accumulate(map(len, digests), initial=0)]
        self._rank = rank
        self.ranks = len(digests)
        """Number of ranks."""
        rows: dict[bytes, list[int]] = {}
        for row, digest in enumerate(itertools.chain.from_iterable(digests)):
            rows.setdefault(digest, []).append(row)
        self.digests = tuple(rows)
        """Digest of each group."""
        self.groups = tuple(map(tuple, rows.values()))
        """Rows of each group, in the order in which the group's first row came."""
        self.owners = self._choose()
        """Rank of each group that scores it."""
        self.straddles = any(self.rank_of(group[0]) != self.rank_of(group[-1]) for group in self.groups)
        """Whether any group is on several ranks."""

    def rank_of(self, row: int) -> int:
        """Rank that has a row."""
        return bisect_right(self._bounds, row) - 1

    def _choose(self) -> tuple[int, ...]:
        """Choose the rank with most rows of a group, whose images stay where they are, and of several the idlest."""
        loads, owners = [0] * self.ranks, list[int]()
        for group in self.groups:
            counts = Counter(map(self.rank_of, group))
            owner = min(counts, key=lambda rank: (-counts[rank], loads[rank], rank))
            loads[owner] += len(group)
            owners.append(owner)
        return tuple(owners)

    def check(self, size: int | None) -> None:
        """Refuse parts of groups, which would be compared among themselves alone.

        Raises:
            RequestError: the rows of a group are no multiple of the size.
        """
        if size is None:
            return
        for group in self.groups:
            if len(group) % size:
                raise RequestError(
                    f"{len(group)} rows of this call have the prompt and source of row {group[0]}, and groups have "
                    f"{size} images. The call holds a part of a group, calls of ranks overtook each other, or size is "
                    f"not the trainer's: give batches that hold whole groups over its {self.ranks} "
                    f"rank{'s' if self.ranks > 1 else ''}, name this reward before others, and give evaluation one of "
                    "its own with size=None (docs/frameworks.md)."
                )

    def here(self, row: int) -> bool:
        """Whether a row is one of this rank."""
        return self.rank_of(row) == self._rank

    def number(self, row: int) -> int:
        """Number of a row among those of its rank."""
        return row - self._bounds[self.rank_of(row)]

    def told(self, row: int, error: Exception) -> str:
        """Text of an error of a row, which names its rank where there are several."""
        return f"rank {self.rank_of(row)}, {error}" if self.ranks > 1 else str(error)

    @property
    def owned(self) -> list[int]:
        """Groups that this rank scores."""
        return [k for k, owner in enumerate(self.owners) if owner == self._rank]

    def lent(self, values: Sequence[T]) -> list[dict[int, T]]:
        """For each rank, the values of this rank's rows that it needs for its groups, by row.

        Args:
            values: value of each row of this rank.
        """
        found: list[dict[int, T]] = [{} for _ in range(self.ranks)]
        for owner, group in zip(self.owners, self.groups, strict=True):
            if owner != self._rank:
                found[owner] |= {row: values[self.number(row)] for row in group if self.here(row)}
        return found
