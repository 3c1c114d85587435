"""Best of many responses in few passes: packs of some, whose winners meet in the next round."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

from ._scorer import Scorer
from .errors import RequestError
from .packs import Members, draw_order, partition
from .request import Image, Request, Video
from .script import Script, script_of


@dataclass(frozen=True)
class Knockout:
    """Winner of a knockout among N responses. It ranks nobody else, and a response that was out early may be good."""

    best: int
    """Index of the response that won every pack that it stood in."""
    won: tuple[int, ...]
    """[N] number of packs that each response won; equal responses are one."""
    passes: int
    """Number of packs that were read."""
    duplicates: tuple[int, ...] = ()
    """[N] index of the first response equal to each, which was read for it; empty where all differ."""
    notices: tuple[str, ...] = ()
    """Notices of the judgements of the packs, each a full phrase."""
    id: str | int | None = None
    """``id`` of the request."""


def knockout(scorer: Scorer, request: Request) -> Knockout:
    """Find the best of N responses, by the first place in packs of as many as the model was trained on.

    Every response is read once in the first round, in an order that depends on N alone, and the winners of each round
    are read again in the next. About (N - 1) / (size - 1) packs are read, fewer than ``method="groups"`` reads, and
    what one pack gets wrong is not made good.

    Args:
        scorer: scorer of a bundle that says on how many responses its model was trained.
        request: request in joint mode, with one order.

    Raises:
        RequestError: the request cannot be scored, or asks for a method, or for several orders.
        EngineError: the engine failed.
    """
    if request.method is not None or request.passes is not None or request.orders not in (None, 1):
        raise RequestError(
            f"The request has method={request.method!r}, passes={request.passes!r} and orders={request.orders!r}, "
            "which a knockout has none of: leave method, passes and orders out."
        )
    copies = _copies(script_of(request))
    distinct, size = sorted(set(copies)), scorer.group_size()
    packs, notices, won = 0, dict[str, None](), dict.fromkeys(distinct, 0)
    order = draw_order(len(distinct), random.Random(f"{len(distinct)} {size}"))
    left: Members = tuple(distinct[place] for place in order)
    while True:
        round_ = partition(left, size)
        requests = [replace(request, responses=[request.responses[k] for k in pack]) for pack in round_]
        judged = scorer.score_batch(requests)
        packs += len(round_)
        winners = [pack[judgement.best] for pack, judgement in zip(round_, judged, strict=True)]
        for winner in winners:
            won[winner] += 1
        notices |= dict.fromkeys(notice for judgement in judged for notice in judgement.notices)
        if len(winners) == 1:
            shared = () if len(distinct) == len(copies) else copies
            counts = tuple(won[copy] for copy in copies)
            return Knockout(winners[0], counts, packs, shared, tuple(notices), request.id)
        left = tuple(winners)


def _copies(script: Script) -> tuple[int, ...]:
    """Index of the first response equal to each. Media are equal where they are one path, text or object."""
    keys = [tuple(part if isinstance(part, str) else _key(script.media[part]) for part in r) for r in script.responses]
    return tuple(keys.index(key) for key in keys)


def _key(medium: Image | Video) -> object:
    source = medium.source
    named = (type(medium), source) if isinstance(source, str | bytes | Path) else (type(medium), id(source))
    return named if isinstance(medium, Image) else (*named, medium.fps, id(medium.timestamps))
