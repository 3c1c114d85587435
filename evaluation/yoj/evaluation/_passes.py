"""Orders in which the responses of an item are read."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from yoj.runtime import Request
from yoj.runtime.manifest import Mode
from yoj.runtime.packs import draw_order
from yoj.runtime.request import Method

from ._items import Item


def draw_passes(n: int, count: int, key: str, seed: int) -> tuple[tuple[int, ...], ...]:
    """Draw the orders of the responses of one item: a random one, its reverse, then rotations, each with its reverse.

    The order of the file is as likely as any other, so that the best response stands at no fixed place. An even number
    of orders gives each response the same mean place.

    Args:
        n: number of responses.
        count: number of orders. Two responses have 2, and N have 2N of this kind; there are no more then.
        key: name of the item, which draws orders of its own.
        seed: seed of the run.

    Returns:
        For each order, the index of the response that stands in each place.
    """
    first = draw_order(n, random.Random(f"{seed} {key}"))
    turned = [first[turn:] + first[:turn] for turn in range(n)]
    return tuple(dict.fromkeys(order for one in turned for order in (one, one[::-1])))[:count]


@dataclass(frozen=True)
class HowRead:
    """Settings with which a judge reads a request."""

    mode: Mode | None = None
    """Mode of reading; None for the one that the judge was trained in."""
    method: Method | None = None
    """Method for more responses than the judge was trained on; None reads them in one pack."""
    passes: int | None = None
    """Most packs of the method ``groups``; see `yoj.runtime.Request.passes`."""


def in_order(item: Item, order: tuple[int, ...], how: HowRead) -> Request:
    """Request of an item with its responses in an order, and one reading.

    Args:
        item: the item.
        order: index of the response that stands in each place.
        how: settings of the reading.
    """
    responses = [item.request.responses[index] for index in order]
    return replace(item.request, responses=responses, orders=1, **vars(how))
