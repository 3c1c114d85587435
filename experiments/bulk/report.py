"""Tables of docs/scale.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CORES = 2
"""Cores of the machine that the results are of."""
DAY_S = 24 * 60 * 60
MILLION = 1e6


def tables(results: Path) -> str:
    """Text of all tables, from a folder of results."""
    costs = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(results.glob("costs*.json"))}
    pools = [json.loads(file.read_text("utf-8")) for file in sorted(results.glob("ray-*.json"))]
    parts = [_costs(costs), _days(costs)]
    parts += [_pools(pools, costs["costs"])] if pools and "costs" in costs else []
    parts += [_kills(json.loads(file.read_text("utf-8"))) for file in sorted(results.glob("kills.json"))]
    return "\n\n".join(parts)


def predicted(costs: Mapping[str, Any], cores: int = CORES) -> float:
    """Rows a second that the model expects of so many cores, if all are busy and one process reads and writes."""
    of = costs["core_s"]
    return min(cores / sum(of.values()), 1 / of["parent"])


def _costs(costs: Mapping[str, Mapping[str, Any]]) -> str:
    head = "| rows | engine, ms of a core | prepare | read and write | bytes read | bytes written | memory, MB |"
    lines = [
        f"| {name} | {1e3 * one['core_s']['engine']:.2f} | {1e3 * one['core_s']['prepare']:.2f} "
        f"| {1e3 * one['core_s']['parent']:.2f} | {one['bytes']['shards']:,.0f} | {one['bytes']['results']:,.0f} "
        f"| {one['peak_bytes'] / MILLION:,.0f} |"
        for name, one in costs.items()
    ]
    return _table(head, lines)


def _days(costs: Mapping[str, Mapping[str, Any]]) -> str:
    head = "| rows | scored | rows a second, by the model | measured | engine busy | a day, millions |"
    lines = [
        f"| {name} | {one['rows']:,} | {predicted(one):,.0f} | {_rate(one):,.0f} | {one['busy']:.0%} "
        f"| {_rate(one) * DAY_S / MILLION:,.1f} |"
        for name, one in costs.items()
    ]
    return _table(head, lines)


def _pools(pools: Iterable[Mapping[str, Any]], alone: Mapping[str, Any]) -> str:
    head = "| Ray Data | rows | distinct | failed | rows a second | of yoj-score |"
    lines = [
        f"| {one['actors']} actors | {one['rows']:,} | {one['distinct']:,} | {one['failed']} | {_rate(one):,.0f} "
        f"| {_rate(one) / _rate(alone):.0%} |"
        for one in pools
    ]
    return _table(head, lines)


def _kills(one: Mapping[str, Any]) -> str:
    seconds = [at for at, _ in one["memory"]]
    quarters = [[size for at, size in one["memory"] if 4 * at // (seconds[-1] + 1) == k] for k in range(4)]
    peaks = ", ".join(f"{max(sizes, default=0) / MILLION:,.0f}" for sizes in quarters)
    kills = ", ".join(f"{count} of {way}" for way, count in one["kills"].items())
    told = f"Kills: {kills}; {one['starts']} starts, {one['seconds']:,.0f} s."
    return f"{told} Most memory by quarters of the time, MB: {peaks}."


def _rate(one: Mapping[str, Any]) -> float:
    return one["rows"] / one["seconds"]


def _table(head: str, lines: Iterable[str]) -> str:
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *lines])
