"""Tables of the study as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from .data import SIZES
from .figures import Figure
from .methods import THIRDS, methods_for
from .results import Record

Content: TypeAlias = "Mapping[str, Any]"
"""Content of a judge's file of results: ``about`` and ``records``."""
Cell: TypeAlias = Callable[[Record], str]
COSTLY = (32, 64)
"""N at which methods are compared by what they take."""


def percent(found: Figure | None) -> str:
    """Share and its 95 % interval in per cent; a dash where there is none."""
    return "-" if found is None else f"{100 * found['value']:.1f} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def number(found: Figure | None) -> str:
    """Figure and its 95 % interval; a dash where there is none."""
    return "-" if found is None else f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def counted(found: Figure | None) -> str:
    """Share in per cent with its interval and the number of what it is a share of."""
    return "-" if found is None else f"{percent(found)} of {found['count']:.0f}"


BY_N: dict[str, Cell] = {
    "Best answer first, %": lambda one: percent(one["top1"]),
    "First answer is true: the best, or one that leaves an attribute out, %": lambda one: percent(one["first_is_true"]),
    "Best answer above its rival, %": lambda one: percent(one["above_rival"]),
    "Kendall's tau-b with the ranks by the scene": lambda one: number(one["tau_b"]),
    "Best answer first where it stands in the first, middle and last third, %": lambda one: " / ".join(
        "-" if one["thirds"][name] is None else f"{100 * one['thirds'][name]['value']:.1f}" for name in THIRDS
    ),
}
COST: dict[str, Cell] = {
    "best answer first, %": BY_N["Best answer first, %"],
    "above its rival, %": BY_N["Best answer above its rival, %"],
    "packs a request": lambda one: f"{one['passes']:g}",
    "tokens a request": lambda one: f"{one['tokens']:.0f}",
    "median ms": lambda one: f"{one['milliseconds']:.1f}",
    "of the CPU": lambda one: f"{one['cpu_milliseconds']:.1f}",
}
PROBES: dict[str, tuple[str, dict[str, Cell]]] = {
    "calibration": (
        "Calibration, at temperature 1 and at the one fitted on the other half",
        {
            "NLL": lambda one: number(one["as_it_is"]["nll"]),
            "fitted": lambda one: number(one["fitted"]["nll"]),
            "Brier": lambda one: number(one["as_it_is"]["brier"]),
            "fitted ": lambda one: number(one["fitted"]["brier"]),
            "ECE": lambda one: number(one["as_it_is"]["ece"]),
            "fitted  ": lambda one: number(one["fitted"]["ece"]),
            "temperatures": lambda one: ", ".join(f"{value:.3g}" for value in one["temperatures"]),
        },
    ),
    "position": (
        "Place of the best answer",
        {
            "right at the first place, %": lambda one: percent(one["accuracy_by_place"][0]),
            "the middle": lambda one: percent(one["accuracy_by_place"][one["n"] // 2]),
            "the last": lambda one: percent(one["accuracy_by_place"][-1]),
            "widest gap of two places": lambda one: percent(one["widest_gap"]),
            "wins by place": lambda one: " ".join(map(str, one["wins_by_place"])),
            "chi-square": lambda one: f"{one['chi_square']:.1f}",
            "p": lambda one: f"{one['p']:.2g}",
        },
    ),
    "duplicates": (
        "A losing answer twice in one pack",
        {
            "scores differ by": lambda one: number(one["difference"]),
            "over the pack's deviation": lambda one: number(one["difference_over_deviation"]),
            "the earlier is higher, %": lambda one: percent(one["earlier_higher"]),
            "the winner changes, %": lambda one: percent(one["winner_changes"]),
        },
    ),
    "length": (
        "The best answer in three styles at once",
        {
            "terse wins, %": lambda one: percent(one["wins"]["terse"]),
            "plain": lambda one: percent(one["wins"]["plain"]),
            "fluent": lambda one: percent(one["wins"]["fluent"]),
            "another answer": lambda one: percent(one["wins"]["another"]),
            "score of terse": lambda one: number(one["centred"]["terse"]),
            "of plain": lambda one: number(one["centred"]["plain"]),
            "of fluent": lambda one: number(one["centred"]["fluent"]),
            "longest less shortest": lambda one: number(one["longest_less_shortest"]),
        },
    ),
    "fluency": (
        "The best answer in one style, all others in another",
        {
            "terse among fluent, first, %": lambda one: percent(one["terse_among_fluent"]),
            "fluent among terse": lambda one: percent(one["fluent_among_terse"]),
            "difference": lambda one: percent(one["difference"]),
            "above its rival, terse": lambda one: percent(one["above_rival_terse"]),
            "fluent": lambda one: percent(one["above_rival_fluent"]),
        },
    ),
    "false fluent": (
        "False descriptions with a higher score than better ones, % of the pairs",
        {
            "fluent above empty talk": lambda one: counted(one["fluent above empty talk"]),
            "terse above it": lambda one: counted(one["terse above empty talk"]),
            "fluent above a terse, partly right one": lambda one: counted(one["fluent above partly right"]),
            "terse above it ": lambda one: counted(one["terse above partly right"]),
        },
    ),
}


def tables(results: Mapping[str, Content]) -> str:
    """Tables of all judges; shares with 95 % intervals of the bootstrap over items.

    Args:
        results: content of each judge's file by its name.
    """
    parts = [_table("", ["judge", *ABOUT], [[name, *_about(found)] for name, found in results.items()])]
    parts += [_by_n(title, results, cell) for title, cell in BY_N.items()]
    parts += [_cost(results, n) for n in COSTLY]
    parts += [_probe(name, results) for name in PROBES]
    return "\n\n".join(part for part in parts if part)


ABOUT = ("trained_mode", "trained_n", "precision", "items", "manifest_sha256")


def _about(found: Content) -> list[str]:
    return [str(found["about"].get(name))[:16] for name in ABOUT]


def records_by_method(found: Content) -> dict[str, dict[int, Record]]:
    """Records of the methods of a judge, by name and N, in the order of `methods.methods_for`."""
    names = [method.name for method in methods_for(found["about"]["trained_mode"], max(SIZES))]
    records = [one for one in found["records"] if "method" in one]
    known = {name: {one["n"]: one for one in records if one["method"] == name} for name in names}
    return {name: by_n for name, by_n in known.items() if by_n}


def _by_n(title: str, results: Mapping[str, Content], cell: Cell) -> str:
    rows = [
        [name, method, *(cell(by_n[n]) if n in by_n else "" for n in SIZES)]
        for name, found in results.items()
        for method, by_n in records_by_method(found).items()
    ]
    return _table(title, ["judge", "method", *(f"N={n}" for n in SIZES)], rows)


def _cost(results: Mapping[str, Content], n: int) -> str:
    """Methods at one N, those of the fewest packs first."""
    rows = [
        (by_n[n]["passes"], [name, method, *(cell(by_n[n]) for cell in COST.values())])
        for name, found in results.items()
        for method, by_n in records_by_method(found).items()
        if n in by_n
    ]
    return _table(f"N={n}, by packs", ["judge", "method", *COST], [row for _, row in sorted(rows, key=lambda r: r[0])])


def _probe(name: str, results: Mapping[str, Content]) -> str:
    title, cells = PROBES[name]
    rows = [
        [judge, str(one["n"]), str(one["items"]), *(cell(one) for cell in cells.values())]
        for judge, found in results.items()
        for one in found["records"]
        if one.get("probe") == name
    ]
    return _table(title, ["judge", "N", "items", *cells], rows)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Table under its title; empty where there are no rows."""
    if not rows:
        return ""
    lines = [f"| {' | '.join(cell.strip() for cell in row)} |" for row in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join([f"**{title}**\n", *lines] if title else lines)
