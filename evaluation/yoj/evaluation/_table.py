"""Results as tables of text, which the terminal and the page show alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ._length_bias import CreditShare
from ._order_report import SlotFigures
from ._results import Figure, RunResults

MANY = 32
"""Most categories that the terminal shows."""


@dataclass(frozen=True)
class TextTable:
    """Table with a title, and notes under it."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Table in columns, the first to the left."""
        lines = [self.heads, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.heads))]
        shown = [
            "  ".join(
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *shown, *self.notes])


def number(value: float | None, places: int = 4) -> str:
    """Number as tables show it; a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{places}f}"


def tables(results: RunResults) -> list[TextTable]:
    """All tables of a run; those without rows are left out."""
    found = [
        figure_table(results),
        _order_table(results),
        *map(_slot_table, results.order.by_n),
        _length_table(results),
        _probability_table(results),
    ]
    return [one for one in found if one.rows]


def figure_table(results: RunResults) -> TextTable:
    """Table of the benchmark's figures."""
    rows = tuple(_figure_row(name, one, results) for name, one in results.figures.items())
    return TextTable(
        f"{results.title} ({results.benchmark})", ("figure", "value", "95% interval", "of"), rows, _notes(results)
    )


def _items(count: int) -> str:
    return f"{count} item{'' if count == 1 else 's'}"


def _figure_row(name: str, figure: Figure, results: RunResults) -> tuple[str, ...]:
    shown = f"{name} (headline)" if name == results.headline else name
    interval = "-" if figure.low is None else f"{number(figure.low)} to {number(figure.high)}"
    return shown, number(figure.value), interval, str(figure.count)


def _notes(results: RunResults) -> tuple[str, ...]:
    if results.official_ties is None:
        official = "the benchmark publishes no rule for them"
    elif results.ties == results.official_ties:
        official = "as in the official script"
    else:
        official = f"the official script counts them as: {results.official_ties}"
    notes = [f"Equal highest scores count as: {results.ties} ({official})."]
    if results.resamples:
        notes.append(
            f"Intervals are percentiles of {results.resamples} bootstrap resamples over groups, seed {results.seed}."
        )
    if results.limit is not None:
        notes.append(f"Only the first {results.rows} rows were read (--limit {results.limit}).")
    if refused := sum(results.refused.values()):
        kinds = ", ".join(f"{kind} {count}" for kind, count in results.refused.items())
        notes.append(
            f"{refused} of {results.rows} rows are left out and in no denominator, as they cannot be scored: {kinds}."
        )
    if results.failed:
        notes.append(
            f"The judge failed on {results.failed} of {results.items} items, which count as wrong; the first: "
            f"{results.first_error}"
        )
    if results.noticed:
        text, count = next(iter(results.notices.items()))
        have = "has" if results.noticed == 1 else "have"
        notes.append(f"{_items(results.noticed)} {have} notices; the most frequent, of {count}: {text}")
    if results.fewer_frames:
        counted = "; ".join(f"{_items(count)}: {frames} frames read" for frames, count in results.frames.items())
        more = results.fewer_frames - sum(results.frames.values())
        notes.append(
            f"Of {_items(results.fewer_frames)} the judge read fewer frames than it was given, so figures of judges "
            f"that read all do not compare: {counted}{f'; and {_items(more)} more' if more else ''}."
        )
    notes += [f"Not confirmed: {results.unsure}"] if results.unsure else []
    return tuple(notes)


def _order_table(results: RunResults) -> TextTable:
    order = results.order
    rows = (
        ("accuracy in the first order", number(order.first_right), str(order.items)),
        ("accuracy of scores averaged over the orders", number(order.averaged_right), str(order.items)),
        ("right in every order", number(order.every_right), str(order.items)),
        ("highest score is another response's in some order", number(order.flips), str(order.several)),
        ("Kendall's tau-b between orders, mean", number(order.tau), str(order.tau_items)),
    )
    read = ", ".join(f"{_items(count)} in {passes}" for passes, count in order.passes.items() if passes)
    note = f"Orders: {read or 'none'}; the first is random for each item, seed {results.seed}."
    return TextTable("Order of the responses", ("figure", "value", "of"), rows, (note,))


def _slot_table(slots: SlotFigures) -> TextTable:
    rows = tuple(
        (str(place + 1), number(slots.best_right[place]), str(slots.best_count[place]), str(slots.chosen_count[place]))
        for place in range(slots.n)
    )
    tied = f"; not counted: {_items(slots.tied)} with equal highest scores" if slots.tied else ""
    if slots.p is None:
        note = f"Too few items for chi-square{tied}."
    else:
        found = f"{number(slots.chi_square, 2)}, p = {slots.p:.3g}"
        note = f"Chi-square of the chosen places against equal counts: {found}{tied}."
    heads = ("place", "accuracy where the best stands there", "of readings", "chosen in the first order")
    return TextTable(f"Places of {slots.n} responses", heads, rows, (note,))


def _length_table(results: RunResults) -> TextTable:
    length = results.length
    if not length.items:
        return TextTable("", (), ())
    rows = (
        _share_row("accuracy where the best response is longer than the others' mean", length.best_longer),
        _share_row("accuracy where it is shorter", length.best_shorter),
        *([_share_row("accuracy where it is as long", length.best_equal)] if length.best_equal.count else []),
        ("correlation of score with length, mean over items", number(length.score_correlation), str(length.items)),
        ("correlation of people's preference with length", number(length.rank_correlation), str(length.items)),
    )
    note = f"Lengths are characters; not among these: {_items(length.left_out)}."
    return TextTable("Length of the responses", ("figure", "value", "of"), rows, (note,))


def _share_row(name: str, share: CreditShare) -> tuple[str, ...]:
    return name, number(share.right), str(share.count)


def _probability_table(results: RunResults) -> TextTable:
    rows = tuple(
        (
            str(one.n),
            str(one.items),
            number(one.nll),
            number(one.brier),
            number(one.ece),
            _temperatures(one.temperatures),
            "yes" if one.calibrated else "no",
        )
        for one in results.probabilities
    )
    heads = ("N", "items", "NLL (nats)", "Brier", "ECE (15 bins)", "temperature", "calibrated")
    return TextTable("Probabilities by number of responses, in the first order", heads, rows)


def _temperatures(values: Sequence[float]) -> str:
    return f"{values[0]:.4g}" if len(values) == 1 else f"{values[0]:.4g} to {values[-1]:.4g}"


def summary(results: RunResults) -> str:
    """Text for the terminal: figures and notes, then the other tables."""
    return "\n\n".join(one.text() for one in _cut(tables(results)))


def _cut(found: Iterable[TextTable]) -> list[TextTable]:
    return [
        one
        if len(one.rows) <= MANY
        else TextTable(
            one.title, one.heads, one.rows[:MANY], (f"... and {len(one.rows) - MANY} more, in report.html", *one.notes)
        )
        for one in found
    ]
