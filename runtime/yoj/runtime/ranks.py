"""Check of the ranks of N responses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from .errors import RequestError

FIX = "Ranks are 1 for the best response, then 2, 3 and so on; equal responses share a rank"


def check_rankings(rankings: Sequence[float], n: int) -> None:
    """Refuse numbers that cannot be ranks.

    Every usual way to count ties is taken: 1 2 2 4, 1 2 2 3, 1 3 3 4, and the mean of the places that are shared,
    1 2.5 2.5 4. The best response has rank 1, or the mean of the places that the best share. Every other rank is whole
    or such a mean, at least 1 more than there are different better ranks, and at most the number of responses that are
    at least as good. So scores on a scale, whose best is often the highest, seldom pass.

    Args:
        rankings: [N] ranks, 1 = best.
        n: number of responses.

    Raises:
        RequestError: there are more or fewer of them than responses, or they are no ranks.
    """
    if len(rankings) != n:
        raise RequestError(f"{len(rankings)} rankings for {n} responses; give one for each.")
    told = f"rankings are {[_short(rank) for rank in rankings[:12]]}".replace("'", "") + (" ..." if n > 12 else "")
    if not all(map(math.isfinite, rankings)):
        raise RequestError(f"{told}: not all are numbers. {FIX}.")
    if rankings and (least := min(rankings)) < 1:
        fixed = f"{[1 if rank == 1 else 2 for rank in rankings[:12]]}{' ...' if n > 12 else ''}"
        marks = {*rankings} == {0, 1}
        from_0 = least == 0 and _fits([rank + 1 for rank in rankings])
        fix = f" If 1 marks the right ones, give {fixed}." if marks else ""
        fix += " If they count from 0, add 1 to each." if from_0 else ""
        raise RequestError(f"{told}: the smallest is {_short(least)}, so that they are no ranks. {FIX}.{fix}")
    if not _fits(rankings):
        raise RequestError(
            f"{told}: these are no ranks of {n} responses. {FIX}, and no rank is above the number of responses "
            "that are at least as good. Scores are no ranks."
        )


def _fits(rankings: Sequence[float]) -> bool:
    better, different = 0, 0
    for rank, equal in sorted(Counter(rankings).items()):
        mean = better + (equal + 1) / 2
        whole = rank == int(rank) and different + 1 <= rank <= (better + equal if better else 1)
        if not whole and rank != mean:
            return False
        better, different = better + equal, different + 1
    return True


def _short(rank: float) -> str:
    return f"{rank:g}"
