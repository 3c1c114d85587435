"""Groups of a trainer's rows, by where they stand and never by what their prompts say.

Two rows of a data set may have the same text, and another picture; two with the same of both are still two groups. So
rows are grouped by their places, and compared only to find out that the places are wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeAlias

from yoj.runtime import RequestError

Digests: TypeAlias = "tuple[bytes, bytes]"
"""Hashes of a row's prompt and pictures."""
Groups: TypeAlias = "tuple[tuple[int, ...], ...]"
"""Rows of each group, counted over all ranks."""

FIX = "Give GroupReward the num_generations and num_generations_eval of the trainer's settings"


def groups_of(ranks: Sequence[Sequence[Digests]], sizes: Sequence[int], halves: bool) -> Groups:
    """Find the groups of one call.

    Args:
        ranks: for each rank, the digests of its rows.
        sizes: sizes of a group that are possible; the first is named in errors.
        halves: whether the layout of Online DPO is possible too: all prompts of a rank, and all of them again.

    Raises:
        RequestError: no size fits, or two layouts fit that give different groups.
    """
    rows = [row for rank in ranks for row in rank]
    adjacent = {size: _adjacent(len(rows), size) for size in sorted(set(sizes)) if len(rows) % size == 0}
    fitting = {size: groups for size, groups in adjacent.items() if _misfit(rows, groups) is None}
    found = [fitting[size] for size in fitting if not any(other % size == 0 and other > size for other in fitting)]
    if halves and 2 in sizes and (split := _halves(ranks)) is not None and _misfit(rows, split) is None:
        found.append(split)
    if len(different := set(found)) == 1:
        return found[0]
    if different:
        raise RequestError(
            f"The {len(rows)} rows of this call have one prompt at the places of several layouts, so that their groups "
            f"are not known: {' or '.join(map(_told, different))}. Use prompts that differ within a batch."
        )
    raise RequestError(_why(rows, sizes[0]))


def _told(groups: Groups) -> str:
    return f"rows {', '.join(map(str, groups[0]))} together"


def _adjacent(count: int, size: int) -> Groups:
    return tuple(tuple(range(begin, begin + size)) for begin in range(0, count, size))


def _halves(ranks: Sequence[Sequence[Digests]]) -> Groups | None:
    if any(len(rank) % 2 for rank in ranks):
        return None
    begins = itertools.accumulate((len(rank) for rank in ranks), initial=0)
    return tuple(
        (begin + k, begin + k + len(rank) // 2)
        for begin, rank in zip(begins, ranks, strict=False)
        for k in range(len(rank) // 2)
    )


def _misfit(rows: Sequence[Digests], groups: Groups) -> tuple[int, int] | None:
    """First two rows of a group that answer different prompts."""
    return next(((group[0], k) for group in groups for k in group if rows[k] != rows[group[0]]), None)


def _why(rows: Sequence[Digests], size: int) -> str:
    if len(rows) % size:
        return (
            f"This call has {len(rows)} rows over all ranks, which are no whole groups of {size}. {FIX}, and a batch "
            f"size of which, times the ranks and the steps per generation, {size} is a divisor."
        )
    misfit = _misfit(rows, _adjacent(len(rows), size))
    assert misfit is not None
    first, other = misfit
    what = "prompts" if rows[first][0] != rows[other][0] else "pictures"
    return (
        f"Rows {first} and {other} of this call have different {what}, and with num_generations={size} they would be "
        f"of one group. {FIX}."
    )
