"""Figures of a rewarded group for the log of a trainer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._group import RewardedGroup

log = logging.getLogger("yoj.integrations")


def figures(group: RewardedGroup) -> dict[str, float]:
    """Figures of a group that was rewarded, the same names for each.

    ``yoj/mean`` is the mean of the uncentred scores, which shows progress; ``yoj/spread`` their standard deviation;
    ``yoj/flat`` 1 where that is below the floor; ``yoj/order_spread`` what the readings in other orders differ from a
    score on average, 0 where there was one order; ``yoj/cuts`` the number of responses that were cut;
    ``yoj/milliseconds`` the wall time of the call of the judge.
    """
    spread = group.order_spread or (0.0,)
    return {
        "yoj/mean": group.mean or 0.0,
        "yoj/spread": group.spread or 0.0,
        "yoj/flat": float(group.flat),
        "yoj/order_spread": sum(spread) / len(spread),
        "yoj/cuts": float(len(group.cuts)),
        "yoj/milliseconds": group.milliseconds,
    }


def report(groups: Sequence[RewardedGroup]) -> None:
    """Log the means of a call's figures, and each group that failed, where a trainer has no place for figures."""
    rows = [figures(group) for group in groups if group.rewards is not None]
    if rows:
        means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        log.info("%d groups: %s", len(rows), ", ".join(f"{name} {value:.4g}" for name, value in means.items()))
    for group in groups:
        if group.rewards is None:
            log.warning("group %r has no rewards: %s", group.id, group.error)
