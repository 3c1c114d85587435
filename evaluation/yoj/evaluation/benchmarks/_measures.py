"""Figures that several benchmarks count, and files of predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .._errors import EvaluationError
from .._items import Item, Scored
from ._base import Figures, TieRule, credit


def figures_of(headline: str, credits: Mapping[str, Sequence[float]]) -> Figures:
    """Figures that are means of credits.

    Args:
        headline: name of the figure that the benchmark is known by.
        credits: credits by the name of the figure; names without any are left out.

    Raises:
        EvaluationError: the headline has no credits.
    """
    if not credits.get(headline):
        raise EvaluationError(f"There are no items for the figure {headline!r}. Give the whole benchmark.")
    filled = {name: values for name, values in credits.items() if values}
    values = {name: sum(values) / len(values) for name, values in filled.items()}
    return Figures(headline, values, {name: len(values) for name, values in filled.items()})


def accuracy(
    scored: Sequence[Scored], ties: TieRule, headline: str, category: Callable[[Item], str] | None = None
) -> Figures:
    """Share of the items that are right, in all and by category.

    Args:
        scored: all items.
        ties: rule for ties.
        headline: name of the figure of all items.
        category: function from an item to its category; None for the item's own.
    """
    credits: dict[str, list[float]] = {headline: []}
    for one in scored:
        name = category(one.item) if category else one.item.category
        right = credit(one, ties)
        credits[headline].append(right)
        credits.setdefault(f"category/{name}", []).append(right)
    return figures_of(headline, in_order(credits, headline))


def in_order(credits: Mapping[str, list[float]], *first: str) -> dict[str, list[float]]:
    """Credits with some names in front, and the others sorted, so that figures stand alike in all reports."""
    return {name: credits[name] for name in (*first, *sorted(credits.keys() - set(first))) if name in credits}


def mean_of(figures: Figures, name: str, of: Sequence[str]) -> Figures:
    """Figures with an unweighted mean of some of them, after the headline; without it where one of them is missing.

    Args:
        figures: figures.
        name: name of the mean.
        of: names of the figures that it is the mean of, each of which counts alike.
    """
    if any(one not in figures.values for one in of):
        return figures
    head = figures.headline
    values = {head: figures.values[head], name: sum(figures.values[one] for one in of) / len(of)}
    counts = {head: figures.counts[head], name: len(of)}
    return Figures(head, values | figures.values, counts | figures.counts)


def pick(scored: Scored) -> int | None:
    """Response that a judge prefers, as its index in the file; None where there are no scores.

    Of several with the highest score it is the worst-ranked, so that scripts which know no ties count them as wrong.
    """
    if scored.scores is None:
        return None
    highest = max(scored.scores)
    top = [place for place, score in enumerate(scored.scores) if score == highest]
    return max(top, key=lambda place: scored.item.ranks[place])


def write_lines(file: Path, rows: Iterable[Mapping[str, Any]]) -> Sequence[Path]:
    """Write one JSON object a line; returns the file in a list."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    return [file]


def write_rewards(scored: Sequence[Scored], file: Path) -> Sequence[Path]:
    """Write the native row of each item with its scores, in the order of the file, as ``rewards``.

    Items without scores are left out.
    """
    return write_lines(
        file, ({**one.item.native, "rewards": list(one.scores)} for one in scored if one.scores is not None)
    )
