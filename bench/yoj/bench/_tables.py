"""Tables of bench results as text, aligned for the terminal, whose rows the other forms show too."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from ._results import (
    WITHIN,
    Cost,
    GraphProfile,
    JudgeResult,
    Load,
    MachineLimits,
    Point,
    Saving,
    Start,
    Sweep,
    Time,
    VariantResult,
    baseline,
    ranked,
)

YOJO_CODE = "as the YOJO code"
"""Mark in the name of the PyTorch eager float32 run that does what the published code does."""
SCORES_DIFFER = "scores differ"
NO_TIME = "no time"
COSTS = 2
"""Most operators of an engine that a profile shows."""


@dataclass(frozen=True)
class Table:
    """Table: cells in rows under heads. As a string: the title, aligned columns and the note."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[int, ...] = (0,)
    """Indices of the columns of words; the others hold numbers and end at the right."""
    note: str = ""

    def __str__(self) -> str:
        columns = aligned([self.heads, *self.rows], self.left)
        return "\n".join(part for part in (plain(self.title), columns, plain(self.note)) if part)


def aligned(lines: Iterable[Sequence[str]], left: Container[int]) -> str:
    """Lay out cells as columns of equal width, two spaces apart.

    Args:
        lines: lines with the same number of cells each.
        left: indices of the columns that begin at the left.
    """
    cells = [[plain(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def plain(text: str) -> str:
    """Text on one line without control characters: a name may come from anywhere, and a terminal obeys some."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def summary(judge: JudgeResult) -> str:
    """Description of the judge and of the scored request."""
    model, shape = judge.model, judge.shape
    return (
        f"{model.family}: {counted(model.layers, 'layer')}, D={model.D:,}, {model.parameters / 1e6:,.1f} M parameters; "
        f"B={shape.B}, L={shape.L:,}, N={shape.N}, P={shape.P:,}, R={shape.R:,}, V={shape.V:,}, "
        f"{counted(shape.threads, 'thread')}"
    )


def judge_text(judge: JudgeResult) -> str:
    """Tables of a judge that have rows, under its name."""
    tables = [
        variant_table(judge),
        saving_table(judge.savings),
        *map(sweep_table, judge.sweeps),
        phase_table(judge.phases),
        start_table(judge.starts),
        profile_table(judge.profiles),
        load_table(judge.load),
    ]
    head = f"{plain(judge.model.name)}\n{plain(summary(judge))}"
    return "\n\n".join([head, *(str(table) for table in tables if table.rows)])


def variant_table(judge: JudgeResult) -> Table:
    """Table of the variants, the fastest first; those whose scores differ stand last and are compared with nothing."""
    order = ranked(judge)
    # Its N separate passes may bear the words as well.
    as_published = sorted((c for c in order if YOJO_CODE in c.name), key=lambda c: c.strategy != "packed")
    published = as_published[0] if as_published else None
    rows = [
        (*_measured(c), times(published, c), times(baseline(judge, c), c), f"{c.difference:.1e}", percent(c.share))
        for c in order
    ]
    rows += [(*_measured(c), why_not(c), "", f"{c.difference:.1e}", "") for c in unranked(judge)]
    return Table(
        "variants",
        (
            *("variant", "precision", "strategy", "ms", "interval"),
            *("times YOJO code", "times best PyTorch", "score difference", "share of peak"),
        ),
        tuple(rows),
        left=(0, 1, 2),
        note=f"times: how many times as fast as PyTorch eager float32 {YOJO_CODE} runs it, and as the fastest PyTorch "
        "of any precision that reads the responses likewise, in one pack or each alone; interval: 95 %, or of less "
        "than six runs the fastest and the slowest; score difference: over the largest score or 1",
    )


def saving_table(savings: Sequence[Saving]) -> Table:
    """Table of the saving of one pass over N passes."""
    return Table(
        "one pass against N passes (times as fast)",
        ("N", "P", "R", "PyTorch in", "predicted", "measured", "engine"),
        tuple(
            (str(s.N), f"{s.P:,}", f"{s.R:,}", s.precision, number(s.predicted), number(s.measured), number(s.engine))
            for s in savings
        ),
        left=(3,),
        note="predicted: N (P + R) / (P + N R); measured: N separate PyTorch passes over one packed pass in the same "
        "PyTorch, both in its fastest precision; engine: the same N passes over yoj's float32 engine",
    )


def sweep_table(sweep: Sweep) -> Table:
    """Table of a sweep: a row for each variant, a column for each place."""
    places = sorted({point.x for point in sweep.points})
    names = dict.fromkeys(point.variant for point in sweep.points)
    found = {(point.variant, point.x): point for point in sweep.points}
    rows = [(name, *(_cell(found.get((name, x))) for x in places)) for name in names]
    shapes = [msgspec.structs.asdict(point.shape) for point in sweep.points]
    fixed = {size: value for size, value in (shapes or [{}])[0].items() if all(s[size] == value for s in shapes)}
    if shapes and "L" not in fixed:
        lengths = {x: sorted({point.shape.L for point in sweep.points if point.x == x}) for x in places}
        rows.insert(0, ("L", *("/".join(f"{length:,}" for length in lengths[x]) for x in places)))
    return Table(
        f"{sweep.name} varies (ms)",
        (sweep.name, *(f"{x:,.10g}" for x in places)),
        tuple(rows),
        note=", ".join(f"{size}={value:,}" for size, value in fixed.items()),
    )


def phase_table(phases: dict[str, dict[str, float]]) -> Table:
    """Table of phases: a row for each variant, a column for each phase."""
    names = list(dict.fromkeys(name for of in phases.values() for name in of))
    rows = tuple(
        (
            variant,
            *(number(of[name]) if name in of else "" for name in names),
            number(sum(value for name, value in of.items() if name not in WITHIN)),
        )
        for variant, of in phases.items()
        if of
    )
    heads = (f"of {WITHIN[name]}: {name}" if name in WITHIN else name for name in names)
    return Table("phases (median ms)", ("variant", *heads, "sum"), rows)


def start_table(starts: Sequence[Start]) -> Table:
    """Table of cold starts: the time of a new process to its first score, and the memory that it then holds."""
    rows = tuple(
        (
            *(s.bundle, s.precision, number(s.import_s), number(s.load_s), number(s.first_score_s)),
            *(megabytes(s.resident), megabytes(s.weights), over_weights(s), megabytes(s.bundle_size)),
        )
        for s in starts
    )
    heads = ("import s", "load s", "first score s", "resident MB", "weights MB", "resident/weights", "bundle MB")
    return Table("starts", ("bundle", "precision", *heads), rows, left=(0, 1))


def profile_table(profiles: Sequence[GraphProfile]) -> Table:
    """Table of the two largest costs of each graph of each engine, and what was tried on them."""
    rows = tuple(
        (p.variant, p.graph, cost.operator, number(cost.milliseconds), percent(cost.share), cost.tried)
        for p in profiles
        for cost in _largest(p.costs)
    )
    heads = ("variant", "graph", "operator", "ms", "share", "tried")
    return Table("where the time goes", heads, rows, left=(0, 1, 2, 5))


def load_table(load: Sequence[Load]) -> Table:
    """Table of the latency of requests that arrive at a rate."""
    rows = tuple(
        (
            *(one.variant, number(one.offered), number(one.served), f"{one.requests:,}"),
            *(number(one.p50), number(one.p95), number(one.p99)),
        )
        for one in load
    )
    heads = ("variant", "offered/s", "served/s", "requests", "p50 ms", "p95 ms", "p99 ms")
    return Table("under load", heads, rows)


def limits_table(limits: MachineLimits) -> Table:
    """Table of the peaks of the machine."""
    rows = [(f"{p.precision} matrix product", f"{number(p.flops / 1e9)} GFLOP/s", p.by) for p in limits.peaks]
    if limits.copied:
        rows.append(("large copy", f"{number(limits.copied / 1e9)} GB/s", ""))
    return Table("limits of the machine", ("limit", "measured", "by"), tuple(rows), left=(0, 2))


def unranked(judge: JudgeResult) -> list[VariantResult]:
    """Variants that `ranked` leaves out; those whose scores differ stand last among them."""
    order = ranked(judge)
    return sorted((c for c in judge.variants if c not in order), key=lambda c: not c.agrees)


def why_not(variant: VariantResult) -> str:
    """Reason for which a variant is not ranked."""
    return NO_TIME if variant.agrees else f"{SCORES_DIFFER}, {variant.allowed:g} allowed"


def times(slower: VariantResult | None, variant: VariantResult) -> str:
    """Speed-up as text; empty where there is nothing to compare with."""
    return "" if slower is None else f"{slower.time.median / variant.time.median:.2f}"


def milliseconds(time: Time) -> str:
    """Median as text."""
    return f"{time.median:,.2f}" if math.isfinite(time.median) else NO_TIME


def number(value: float) -> str:
    """Number with two digits after the point."""
    return f"{value:,.2f}" if math.isfinite(value) else "none"


def percent(value: float | None) -> str:
    """Share as text; empty where none was measured."""
    return "" if value is None or not math.isfinite(value) else f"{value:.1%}"


def megabytes(size: int) -> str:
    """Size in units of 10^6 bytes."""
    return f"{size / 1e6:,.1f}"


def over_weights(start: Start) -> str:
    """Ratio of resident memory to the size of the weights, as text."""
    return f"{start.resident / start.weights:.2f}" if start.weights else ""


def counted(count: int, thing: str) -> str:
    """Number and noun, with an s where the number is not one."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _measured(variant: VariantResult) -> tuple[str, ...]:
    time = variant.time
    known = math.isfinite(time.low) and math.isfinite(time.high)
    interval = f"{time.low:,.2f} to {time.high:,.2f}" if known else ""
    return variant.name, variant.precision, variant.strategy, milliseconds(time), interval


def _cell(point: Point | None) -> str:
    if point is None:
        return ""
    return milliseconds(point.time) if point.agrees else f"{milliseconds(point.time)} ({SCORES_DIFFER})"


def _largest(costs: Sequence[Cost]) -> list[Cost]:
    known = [cost for cost in costs if math.isfinite(cost.milliseconds)]
    return sorted(known, key=lambda cost: cost.milliseconds, reverse=True)[:COSTS]
