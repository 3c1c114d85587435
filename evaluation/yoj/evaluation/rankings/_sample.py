"""Items of N responses, sampled from full rankings."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoj.runtime import RequestError
from yoj.runtime.codec import Ignore, Line, to_line
from yoj.runtime.error_texts import shorten
from yoj.runtime.packs import draw_order
from yoj.runtime.rows import read_rows

from .._errors import EvaluationError
from ._votes_file import fields_of, item_of, listed
from .comparisons import Name

OWN = ("id", "rankings", "metadata")
"""Fields that the items get here."""


@dataclass(frozen=True)
class SampleSettings:
    """Settings of a sample."""

    n: int
    """Number of responses of an item."""
    count: int | None = None
    """Number of items in all, spread evenly over the prompts; None for one of each prompt."""
    strict_best: bool = False
    """Whether one response of each item must be better than all others."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            EvaluationError: a setting has a value that it cannot have.
        """
        if self.n < 2:
            raise EvaluationError(f"n is {self.n}; an item has 2 responses or more.")
        if self.count is not None and self.count < 1:
            raise EvaluationError(f"count is {self.count}; give 1 or more.")


@dataclass(frozen=True)
class RankedPrompt:
    """Prompt with the responses of all its candidates."""

    item: Name
    fields: Mapping[str, Any]
    """Fields of a request, without responses."""
    responses: Mapping[str, Any]
    """Response of each candidate, the ranked ones and perhaps others."""
    ranks: Mapping[str, float]
    """Rank of each candidate, 1 = best."""


def read_prompts(rankings: Path, responses: Path) -> list[RankedPrompt]:
    """Read rankings and the responses that they rank.

    Args:
        rankings: file with ``item``, ``candidates`` and ``ranks`` in each row, as ``yoj-eval rankings`` writes it.
        responses: file with ``item``, ``responses`` by candidate, and the prompt and media of a request in each row.

    Returns:
        Prompts in the order of the rankings. Responses of items that are not ranked are left out.

    Raises:
        EvaluationError: a row is malformed, an item is there twice, or ranked responses are missing.
        RequestError: a file cannot be read.
    """
    ranked = _by_item(rankings, "ranking", _ranks)
    given = _by_item(responses, "prompt with responses", _prompt)
    problems: list[str] = []
    for item, ranks in ranked.items():
        if item not in given:
            problems.append(f"item {item!r} has no row")
        elif missing := [name for name in ranks if name not in given[item]["responses"]]:
            problems.append(f"item {item!r} has no response of {', '.join(map(repr, missing))}")
    if problems:
        fix = f"Give the responses of all candidates that {rankings} ranks."
        raise EvaluationError(listed(f"{responses}: {len(problems)} of {len(ranked)} ranked items lack responses",
                                     problems, fix))  # fmt: skip
    return [
        RankedPrompt(
            item,
            {name: value for name, value in given[item].items() if name not in ("item", "responses")},
            given[item]["responses"],
            ranks,
        )
        for item, ranks in ranked.items()
    ]


def has_item(prompt: RankedPrompt, settings: SampleSettings) -> bool:
    """Whether a prompt has enough candidates for one item, with one that is better than all others if it must be so."""
    return _samples(prompt, settings) > 0


def sample_items(prompts: Sequence[RankedPrompt], settings: SampleSettings) -> list[dict[str, Any]]:
    """Sample items, in random order and with their responses in random order. No two of a prompt have the same ones.

    Args:
        prompts: prompts with ranks.
        settings: settings of the sample.

    Returns:
        Requests as ``yoj-score`` reads them, with ranks counted within the item, and in ``metadata`` the name of the
        prompt and the candidate of each response.

    Raises:
        EvaluationError: prompts have too few candidates, or too few samples that are different.
    """
    if not prompts:
        raise EvaluationError("There are no prompts to sample items from.")
    source = random.Random(settings.seed)
    count = len(prompts) if settings.count is None else settings.count
    times = [count // len(prompts)] * len(prompts)
    for index in draw_order(len(prompts), source)[: count % len(prompts)]:
        times[index] += 1
    _check_samples(prompts, times, settings)
    items = [
        one
        for prompt, wanted in zip(prompts, times, strict=True)
        for one in _of_prompt(prompt, wanted, settings, source)
    ]
    return [items[index] for index in draw_order(len(items), source)]


def _check_samples(prompts: Sequence[RankedPrompt], times: Sequence[int], settings: SampleSettings) -> None:
    problems: list[str] = []
    none = 0
    for prompt, wanted in zip(prompts, times, strict=True):
        there = _samples(prompt, settings)
        if there < wanted:
            none += there == 0
            problems.append(
                f"item {prompt.item!r} has {len(prompt.ranks)} candidates and {there} different samples; {wanted} are "
                "wanted"
            )
    if problems:
        best = " with one best response" if settings.strict_best else ""
        fixes = ["Lower --n or --count"]
        fixes += ["leave --strict-best out"] if settings.strict_best else []
        fixes += [f"leave out the {none} prompts without any sample by --skip-invalid"] if none else []
        what = f"{len(problems)} of {len(prompts)} prompts have too few samples of {settings.n} responses{best}"
        raise EvaluationError(listed(what, problems, f"{', or '.join(fixes)}."))


def _samples(prompt: RankedPrompt, settings: SampleSettings) -> int:
    """Number of different sets of N candidates that an item can have."""
    ranks = list(prompt.ranks.values())
    return sum(_weights(ranks, settings.n)) if settings.strict_best else math.comb(len(ranks), settings.n)


def _weights(ranks: Sequence[float], n: int) -> list[int]:
    """Number of sets of N of which each candidate is the one best."""
    return [math.comb(sum(other > rank for other in ranks), n - 1) for rank in ranks]


def _of_prompt(
    prompt: RankedPrompt, wanted: int, settings: SampleSettings, source: random.Random
) -> list[dict[str, Any]]:
    ranks, n = list(prompt.ranks.values()), settings.n
    weights = _weights(ranks, n)
    drawn: set[frozenset[int]] = set()
    items: list[dict[str, Any]] = []
    while len(items) < wanted:
        chosen = _draw(ranks, weights, n, source) if settings.strict_best else draw_order(len(ranks), source)[:n]
        if frozenset(chosen) not in drawn:
            drawn.add(frozenset(chosen))
            items.append(_item(prompt, [chosen[place] for place in draw_order(n, source)], len(items)))
    return items


def _draw(ranks: Sequence[float], weights: Sequence[int], n: int, source: random.Random) -> tuple[int, ...]:
    """N candidates of which one is better than all others, every such set with the same probability."""
    place, best = source.random() * sum(weights), 0
    while place >= weights[best]:
        place, best = place - weights[best], best + 1
    worse = [index for index, rank in enumerate(ranks) if rank > ranks[best]]
    return (best, *(worse[index] for index in draw_order(len(worse), source)[: n - 1]))


def _item(prompt: RankedPrompt, chosen: Sequence[int], number: int) -> dict[str, Any]:
    names = [list(prompt.ranks)[index] for index in chosen]
    ranks = [prompt.ranks[name] for name in names]
    return {
        "id": f"{prompt.item}-{number}",
        **prompt.fields,
        "responses": [prompt.responses[name] for name in names],
        "rankings": [1 + sum(other < rank for other in ranks) for rank in ranks],
        "metadata": {"item": prompt.item, "models": names},
    }


def _by_item(file: Path, what: str, read: Any) -> dict[Name, Any]:
    found: dict[Name, Any] = {}
    texts: dict[str, int] = {}
    problems: list[str] = []
    lines = 0
    for row in read_rows(file):
        lines += 1
        try:
            fields = fields_of(row)
            item = item_of(fields)
            if item is None:
                raise EvaluationError("The row has no item, so that prompt and ranking cannot be matched.")
            if str(item) in texts:
                raise EvaluationError(f"Item {item!r} is there already, in line {texts[str(item)]}.")
            texts[str(item)] = row.number
            found[item] = read(fields)
        except (EvaluationError, RequestError) as error:
            problems.append(f"line {row.number}: {error}")
    if problems:
        raise EvaluationError(listed(f"{file}: {len(problems)} of {lines} lines are wrong", problems, ""))
    if not found:
        raise EvaluationError(f"{file} is empty. Each of its rows is a {what}.")
    return found


def _ranks(fields: Mapping[str, Any]) -> dict[str, float]:
    names, ranks = fields.get("candidates"), fields.get("ranks")
    if not isinstance(names, list) or not isinstance(ranks, list) or len(names) != len(ranks):
        raise EvaluationError("candidates and ranks are no lists of the same length, as yoj-eval rankings writes them.")
    if not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
        raise EvaluationError(f"candidates are {shorten(repr(names))}; give different names.")
    if not all(isinstance(rank, int | float) and not isinstance(rank, bool) for rank in ranks):
        raise EvaluationError(f"ranks are {shorten(repr(ranks))}; give numbers, 1 = best.")
    return dict(zip(names, ranks, strict=True))


def _prompt(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    responses = fields.get("responses")
    if not isinstance(responses, dict) or not responses:
        raise EvaluationError('responses is missing or no object; give {"CANDIDATE": "its response", ...}.')
    if taken := [name for name in OWN if name in fields]:
        raise EvaluationError(f"The row has the field {taken[0]!r}, which the sampled items get. Leave it out.")
    request = {name: value for name, value in fields.items() if name != "item"}
    to_line(request | {"responses": list(responses.values())}, Line, Ignore())
    return fields
