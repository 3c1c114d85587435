"""Report of a run: one HTML file that loads nothing, in the reader's light or dark colour scheme."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ._items import Scored
from ._plots import inline, plots
from ._results import RunResults
from ._shown_request import shown_request
from ._table import TextTable, number, tables
from .benchmarks._base import TieRule, credit

FAILURES = 12
"""Most wrong items that are shown, those of the widest margin first."""
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #59636e; --line: #d1d9e0; --page: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --faint: #9aa4af; --line: #3a424c; --page: #14181d; }
}
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { color: var(--faint); font-weight: 600; vertical-align: bottom; }
.number { text-align: right; white-space: nowrap; }
.note { color: var(--faint); font-size: 13px; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; }
figure { margin: 1rem 0; }
svg { display: block; max-width: 100%; height: auto; }
img { max-width: 100%; margin: .3rem .3rem .3rem 0; }
pre { overflow-x: auto; font-size: 12px; }
"""


def write_page(file: Path, results: RunResults, scored: Sequence[Scored], run: Mapping[str, Any]) -> None:
    """Write the report.

    Args:
        file: file to write.
        results: results of the run.
        scored: its items.
        run: content of ``run.json``, which is shown at the end.
    """
    body = "\n".join(
        [
            *(f"<figure>\n{inline(plot)}\n</figure>" for plot in plots(results)),
            *map(_table, tables(results)),
            _failures(scored, results.ties),
            f"<h2>Run</h2>\n<pre>{escape(json.dumps(run, indent=1, ensure_ascii=False))}</pre>",
        ]
    )
    head = results.figures[results.headline]
    interval = "" if head.low is None else f", 95% interval {number(head.low)} to {number(head.high)}"
    told = f"{results.headline}: {number(head.value)} of {head.count}{interval}"
    file.write_text(_document(results.title, told, body), "utf-8", newline="\n")


def _document(title: str, told: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p>{escape(told)}</p>
{body}
</main>
</body>
</html>
"""


def _table(table: TextTable) -> str:
    heads = "".join(f"<th{_kind(place)}>{escape(head)}</th>" for place, head in enumerate(table.heads))
    rows = "\n".join(
        f"<tr>{''.join(f'<td{_kind(place)}>{escape(cell)}</td>' for place, cell in enumerate(row))}</tr>"
        for row in table.rows
    )
    return "\n".join(
        [
            f"<h2>{escape(table.title)}</h2>",
            f'<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>',
            *(f'<p class="note">{escape(note)}</p>' for note in table.notes),
        ]
    )


def _kind(column: int) -> str:
    return ' class="number"' if column else ""


def worst_failures(scored: Sequence[Scored], ties: TieRule) -> list[Scored]:
    """Scored items without full credit: those where a worse response leads the best by most come first."""
    wrong = [one for one in scored if one.scores is not None and credit(one, ties) < 1]
    return sorted(wrong, key=_lead, reverse=True)[:FAILURES]


def _lead(one: Scored) -> float:
    """Highest score less that of the best-ranked response."""
    scores = one.scores or ()
    least = min(one.item.ranks)
    return max(scores) - max(score for score, rank in zip(scores, one.item.ranks, strict=True) if rank == least)


def _failures(scored: Sequence[Scored], ties: TieRule) -> str:
    shown = worst_failures(scored, ties)
    wrong = sum(one.scores is not None and credit(one, ties) < 1 for one in scored)
    note = f"{len(shown)} of {wrong} scored items without full credit, by how far a worse response leads the best."
    return "\n".join(
        ["<h2>Worst failures</h2>", f'<p class="note">{escape(note)}</p>', *(_failure(one) for one in shown)]
    )


def _failure(one: Scored) -> str:
    prompt, responses = shown_request(one.item.request)
    assert one.scores is not None
    order = sorted(range(len(responses)), key=lambda index: one.item.ranks[index])
    place = {index: place + 1 for place, index in enumerate(one.passes[0].order)}
    rows = "\n".join(
        f'<tr><td class="number">{one.item.ranks[index]:g}</td><td class="number">{number(one.scores[index])}</td>'
        f'<td class="number">{place[index]}</td><td>{responses[index]}</td></tr>'
        for index in order
    )
    name = f"{one.item.id} ({one.item.category})" if one.item.category else one.item.id
    return (
        f"<h3>{escape(name)}</h3>\n{prompt}\n"
        '<div class="wide"><table>\n<thead><tr><th class="number">rank</th><th class="number">score</th>'
        f'<th class="number">place</th><th>response</th></tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'
    )
