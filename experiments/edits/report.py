"""Tables of the experiments as Markdown: means over seeds with intervals of 95 %."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ..any_n.report import percent
from ..grpo.report import mean_with_interval

Records: TypeAlias = "list[Mapping[str, Any]]"
Cell: TypeAlias = Callable[[Records], str]


def records_of(folder: Path, name: str) -> Records:
    """Records of all files of results whose names begin with ``name``, in the order of the names."""
    return [
        one for file in sorted(folder.glob(f"{name}*.json")) for one in json.loads(file.read_text("utf-8"))["records"]
    ]


def tables(folder: Path) -> str:
    """Tables of everything that the folder has results of."""
    found = (_shares(records_of(folder, "share-")), _ways(records_of(folder, "cost")))
    found += (_loops(records_of(folder, "loop-")), _corrections(records_of(folder, "correction-")))
    return "\n\n".join(table for table in found if table)


def _mean(name: str, *path: str, scale: float = 100, digits: int = 1) -> tuple[str, Cell]:
    """Column: a value of each record by the keys that lead to it."""

    def value(one: Mapping[str, Any]) -> float:
        for key in path:
            one = one[key]
        return scale * float(one)  # type: ignore[arg-type]

    return name, lambda records: mean_with_interval([value(one) for one in records], digits)


def _shares(records: Records) -> str:
    columns = [
        _mean("best of 4, %", "best_of_4"),
        _mean("pairs: instruction, %", "pairwise", "instruction"),
        _mean("pairs: quality, %", "pairwise", "quality"),
        _mean("effective rank", "effective_rank", scale=1),
    ]
    kinds = sorted({kind for one in records for kind in one["kinds"]})
    by_kind = [_mean(kind, "kinds", kind, "best_of_4") for kind in kinds]
    rows = _grouped(records, lambda one: f"{one['share']:g}")
    if not rows:
        return ""
    return f"{_table('share of language', rows, columns)}\n\n{_table('best of 4 by kind, %', rows, by_kind)}"


def _ways(records: Records) -> str:
    rows = _grouped(records, lambda one: one["way"])
    if not rows:
        return ""
    sizes = sorted({one["n"] for one in records})

    def time_at(n: int) -> Cell:
        return lambda own: f"{next(one['milliseconds'] for one in own if one['n'] == n):.1f}"

    def right(own: Records) -> str:
        return percent(next(one["best_of_4"] for one in own if "best_of_4" in one))

    return _table("way", rows, [("best of 4, %", right), *((f"ms at N={n}", time_at(n)) for n in sizes)])


def _loops(records: Records) -> str:
    def at(place: int, name: str, scale: float, digits: int) -> Cell:
        return lambda own: mean_with_interval([scale * one["measurements"][place][name] for one in own], digits)

    columns: list[tuple[str, Cell]] = [
        ("true grade before (2 to 8)", at(0, "grade", 1, 2)),
        ("after", at(-1, "grade", 1, 2)),
        ("right before, %", at(0, "right", 100, 1)),
        ("after ", at(-1, "right", 100, 1)),
    ]
    rows = _grouped(records, lambda one: f"{one['reward']}, {one['kl']:g}")
    return _table("reward, weight of the divergence", rows, columns) if rows else ""


def _corrections(records: Records) -> str:
    if not records:
        return ""
    names = list(records[0]["after"])
    rows = {name: [one["after"][name] for one in records] for name in names}
    columns = [
        _mean("edits", "edits", scale=1, digits=0),
        _mean("true grade before", "before", scale=1, digits=2),
        _mean("change", "change", scale=1, digits=2),
    ]
    return _table("second edit, told by", rows, columns)


def _grouped(records: Records, key: Callable[[Mapping[str, Any]], str]) -> dict[str, Records]:
    names = dict.fromkeys(key(one) for one in records)
    return {name: [one for one in records if key(one) == name] for name in names}


def _table(corner: str, rows: Mapping[str, Records], columns: Sequence[tuple[str, Cell]]) -> str:
    head = " | ".join([corner, *(name for name, _ in columns)])
    lines = [f"| {head} |", "|---" * (1 + len(columns)) + "|"]
    lines += [f"| {name} | {' | '.join(cell(own) for _, cell in columns)} |" for name, own in rows.items()]
    return "\n".join(lines)
