"""Lines, summary and table of rankings."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from .comparisons import Name
from .ranking import METHODS, Method, Ranking, RankingSettings

TITLES = {"bt": "Bradley-Terry", "pl": "Plackett-Luce", "ged": "preference graphs"}
SHOWN = 40
"""Most candidates of a table, and most items that are named."""


def encode_ranking(ranking: Ranking, settings: RankingSettings) -> dict[str, Any]:
    """Encode a ranking by the method that was asked for as values that JSON holds, candidates with the best first."""
    comparisons, graph = ranking.comparisons, ranking.graph
    ranks_N, scores_N = ranking.ranks_N[settings.method], ranking.scores_N[settings.method]
    order = sorted(range(len(ranks_N)), key=lambda index: (ranks_N[index], comparisons.candidates[index]))
    fields: dict[str, Any] = {
        "item": comparisons.item,
        "method": settings.method,
        "candidates": [comparisons.candidates[index] for index in order],
        "ranks": ranks_N[order].tolist(),
        "scores": _rounded(scores_N[order]),
    }
    for name in ("low", "high", "rank_low", "rank_high"):
        values_N = None if ranking.intervals is None else getattr(ranking.intervals, f"{name}_N")[order]
        fields[name] = None if values_N is None else _rounded(values_N)
    fields["no_interval"] = ranking.no_interval
    return fields | {
        "component": ranking.component_N[order].tolist(),
        "votes": comparisons.votes,
        "ties": comparisons.ties,
        "cyclic": graph.cyclic,
        "arcs": graph.arcs,
        "removed_arcs": graph.removed,
        "removed_weight": round(graph.removed_weight, 6),
        "agreement": {f"{one} {other}": _short(tau) for (one, other), tau in ranking.agreement.items()},
    }


def summarise(rankings: Sequence[Ranking], settings: RankingSettings) -> dict[str, Any]:
    """Summary of the rankings of all items, as values that JSON holds.

    Args:
        rankings: one ranking or more.
        settings: settings of all of them.
    """
    every = [ranking.comparisons for ranking in rankings]
    bare = [one for one in rankings if one.no_interval is not None]
    split = [ranking for ranking in rankings if ranking.component_N.max() > 0]
    return {
        "method": settings.method,
        "alpha": settings.alpha,
        "resamples": settings.resamples if settings.method != "ged" else 0,
        "seed": settings.seed,
        "without_intervals": [{"item": one.comparisons.item, "reason": one.no_interval} for one in bare],
        "items": len(rankings),
        "candidates": [min(len(one.candidates) for one in every), max(len(one.candidates) for one in every)],
        "votes": sum(one.votes for one in every),
        "ties": sum(one.ties for one in every),
        "lists": sum(one.listed for one in every),
        "annotators": len({name for one in every for name in one.annotators}),
        "votes_without_annotator": sum(one.unnamed for one in every),
        "cyclic": sum(ranking.graph.cyclic for ranking in rankings),
        "removed_arcs": sum(ranking.graph.removed for ranking in rankings),
        "removed_weight": round(statistics.mean(ranking.graph.removed_weight for ranking in rankings), 6),
        "disconnected": [{"item": one.comparisons.item, "components": _components(one)} for one in split],
        "agreement": {f"{one} {other}": _agreement(rankings, (one, other)) for one, other in _pairs()},
    }


def table(rankings: Sequence[Ranking], settings: RankingSettings, summary: dict[str, Any]) -> str:
    """Table for a person: the candidates where there is one ranking, and the figures of all."""
    lines = _candidates(rankings[0], settings) if len(rankings) == 1 else []
    fewest, most = summary["candidates"]
    size = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    unnamed = f"; {summary['votes_without_annotator']} votes name none" if summary["votes_without_annotator"] else ""
    lines += [
        f"rankings: {summary['items']}, of {size} candidates, written by {TITLES[settings.method]}",
        f"intervals: {_intervals_told(summary)}",
        f"votes: {summary['votes']}, of which {summary['ties']} ties (half a win for both in bt and pl, none in ged) "
        f"and {summary['lists']} on three and more",
        *([f"annotators: {summary['annotators']}{unnamed}"] if summary["annotators"] else []),
        f"preference graphs with cycles: {summary['cyclic']} of {summary['items']}; removed to break them: "
        f"{summary['removed_arcs']} arcs, {summary['removed_weight']:.1%} of a graph's weight on average",
    ]
    if summary["lists"]:
        lines.append("bt and ged count a vote on three and more as votes on all its pairs, pl as one ranking")
    else:
        lines.append("pl is bt here: they differ in votes on three and more alone")
    for pair, agreement in summary["agreement"].items():
        told = "none" if agreement["tau_b"] is None else f"{agreement['tau_b']:.3f} on average"
        left = f", without {agreement['undefined']} rankings that are one tie" if agreement["undefined"] else ""
        lines.append(f"Kendall's tau-b of {pair.replace(' ', ' and ')}: {told}{left}")
    lines += _warning(
        "rankings have no intervals, as resampling their votes says nothing",
        [(one["item"], one["reason"]) for one in summary["without_intervals"]],
    )
    lines += _warning(
        "rankings have parts that no vote links; how they compare is a guess of alpha",
        [(one["item"], " | ".join(map(", ".join, one["components"]))) for one in summary["disconnected"]],
    )
    return "\n".join(lines)


def _warning(what: str, items: Sequence[tuple[Name | None, str]]) -> list[str]:
    if not items:
        return []
    named = [f"  {'all' if item is None else item}: {told}" for item, told in items[:SHOWN]]
    left = [f"  and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return [f"warning: {len(items)} {what}:", *named, *left]


def _candidates(ranking: Ranking, settings: RankingSettings) -> list[str]:
    fields = encode_ranking(ranking, settings)
    names = fields["candidates"][:SHOWN]
    width = max(map(len, [*names, "candidate"]))
    ranks_N = ranking.ranks_N
    others: list[Method] = [method for method in METHODS if method != settings.method]
    place = {name: index for index, name in enumerate(ranking.comparisons.candidates)}
    head = f"{settings.method:>4}  {'candidate':{width}}  {'score':>7}"
    asked = fields["low"] or fields["no_interval"]
    head += f"  {'95 % interval':>16}  {'ranks':>7}" if asked else ""
    lines = [head + "".join(f"  {method:>4}" for method in others)]
    for k, name in enumerate(names):
        line = f"{fields['ranks'][k]:4}  {name:{width}}  {fields['scores'][k]:7.3f}"
        if fields["low"]:
            line += f"  {fields['low'][k]:7.3f}, {fields['high'][k]:7.3f}"
            line += f"  {fields['rank_low'][k]:3}-{fields['rank_high'][k]:<3}"
        elif asked:
            line += f"  {'-':>16}  {'-':>7}"
        lines.append(line + "".join(f"  {ranks_N[method][place[name]]:4}" for method in others))
    left = len(fields["candidates"]) - len(names)
    return [*lines, *([f"      and {left} more"] if left else []), ""]


def _intervals_told(summary: dict[str, Any]) -> str:
    if summary["method"] == "ged":
        return "none; ged has no model of votes, and its scores are numbers of descendants"
    alpha = f"alpha={summary['alpha']:g}"
    if not summary["resamples"]:
        return f"none; {alpha}"
    bare = len(summary["without_intervals"])
    left = f", none for {bare} of {summary['items']} rankings" if bare else ""
    return f"95 %, from {summary['resamples']} resamples of the votes{left}; {alpha}, seed {summary['seed']}"


def _components(ranking: Ranking) -> list[list[str]]:
    names = ranking.comparisons.candidates
    count = int(ranking.component_N.max()) + 1
    return [[names[index] for index in np.flatnonzero(ranking.component_N == part)] for part in range(count)]


def _agreement(rankings: Sequence[Ranking], pair: Any) -> dict[str, Any]:
    values = [ranking.agreement[pair] for ranking in rankings]
    defined = [value for value in values if value is not None]
    mean = _short(statistics.mean(defined)) if defined else None
    return {"tau_b": mean, "undefined": len(values) - len(defined)}


def _pairs() -> list[Any]:
    return list(itertools.combinations(METHODS, 2))


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _rounded(values_N: Any) -> list[Any]:
    return np.round(values_N, 6).tolist()
