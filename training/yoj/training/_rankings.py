"""Rankings of a sample: of its responses as a whole, and in each dimension of the value head."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from yoj.runtime.errors import RequestError
from yoj.runtime.ranks import check_rankings

Ranks: TypeAlias = "Sequence[float | None]"
"""[N] ranks, 1 = best, None where a response was not judged."""


@dataclass(frozen=True)
class Needs:
    """Rankings that samples must have."""

    ranked: bool = True
    """Whether they must say which responses are better."""
    dimensions: tuple[str, ...] = ()
    """Dimensions of the value head; empty for one score, which is learnt from the overall rankings."""
    evaluated: bool = False
    """Whether they are for an evaluation, for which overall rankings and those of dimensions do equally."""


def informs(ranks: Ranks, of: Collection[int] | None = None) -> bool:
    """Whether two of the responses, or of those with these indices, have different ranks."""
    chosen = ranks if of is None else [ranks[i] for i in of]
    return len({rank for rank in chosen if rank is not None}) > 1


def judged(ranks: Ranks) -> dict[int, float]:
    """Ranks of the responses that were judged, by their indices."""
    return {k: rank for k, rank in enumerate(ranks) if rank is not None}


def best_of(ranks: Ranks) -> list[int]:
    """Indices of the responses that share the best rank."""
    best = min(judged(ranks).values())
    return [k for k, rank in enumerate(ranks) if rank == best]


def ranks_by_dimension(rankings: Mapping[str, Ranks] | None, dimensions: Sequence[str], n: int) -> list[Ranks]:
    """Ranks [N] in each of the dimensions; in one that a sample does not name, no response was judged."""
    return [(rankings or {}).get(name, [None] * n) for name in dimensions]


def wrong_rankings(rankings: Mapping[str, Ranks], n: int) -> tuple[str, str] | None:
    """Kind of an error in the rankings of dimensions, in a word or two, and a sentence on it; None for none."""
    for name, ranks in rankings.items():
        if len(ranks) != n:
            return (
                "lengths",
                f"dimension_rankings.{name} has {len(ranks)} ranks for {n} responses; null is no judgement",
            )
        own = list(judged(ranks).values())
        try:
            check_rankings(own, len(own))
        except RequestError as error:
            return "no ranks", f"dimension_rankings.{name}, without nulls: {error}"
    return None


def unlearnable(overall: Ranks | None, rankings: Mapping[str, Ranks] | None, needs: Needs) -> tuple[str, str] | None:
    """Kind of the reason why a sample lacks the rankings that are needed, and a sentence on it; None where it has them.

    Args:
        overall: ranks of the responses as a whole.
        rankings: ranks by dimension, checked by `wrong_rankings`.
        needs: needs of the run.
    """
    known = needs.dimensions
    if known and (unknown := [name for name in rankings or {} if name not in known]):
        return "unknown dimension", (
            f"dimension_rankings names {', '.join(unknown)}; the dimensions of the head are {', '.join(known)}"
        )
    if (known or needs.evaluated) and any(informs(ranks) for ranks in (rankings or {}).values()):
        return None
    if not known or needs.evaluated:
        return _wrong_overall(overall)
    if rankings is None:
        return "no rankings", f"there are no dimension_rankings, and the head has the dimensions {', '.join(known)}"
    return "all tied", "no dimension ranks two responses differently: nothing can be learnt"


def _wrong_overall(ranks: Ranks | None) -> tuple[str, str] | None:
    if ranks is None:
        return "no rankings", "there are no rankings"
    if not informs(ranks):
        return "all tied", f"all {len(ranks)} responses have rank {ranks[0]:g}: nothing can be learnt"
    return None
