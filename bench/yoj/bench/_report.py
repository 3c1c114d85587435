"""Report of bench results: one HTML file that loads nothing, in the reader's light or dark colour scheme."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from . import _plots as plots
from ._results import JudgeResult, Results
from ._tables import (
    Table,
    limits_table,
    load_table,
    phase_table,
    plain,
    profile_table,
    saving_table,
    start_table,
    summary,
    sweep_table,
    variant_table,
)

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
figure { margin: 1rem 0; }
svg { display: block; max-width: 100%; height: auto; }
"""


def write_report(results: Results, file: Path) -> None:
    """Write the report, the folder included; the same bytes for the same results and release of matplotlib."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(report(results), "utf-8", newline="\n")


def report(results: Results) -> str:
    """Page of the report."""
    parts = [_environment(results.environment), _part(limits_table(results.limits), (), "h2")]
    parts += [_judge(judge, number) for number, judge in enumerate(results.judges)]
    body = "\n".join(part for part in parts if part)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>yoj bench</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>What yoj-bench found</h1>
{body}
</main>
</body>
</html>
"""


def _judge(judge: JudgeResult, number: int) -> str:
    """Tables, each under the plots of the same figures."""
    parts = [
        (variant_table(judge), (plots.variants(judge), plots.shares(judge))),
        (saving_table(judge.savings), (plots.savings(judge),)),
        *((sweep_table(sweep), (plots.sweep(judge, sweep),)) for sweep in judge.sweeps),
        (phase_table(judge.phases), (plots.phases(judge),)),
        (start_table(judge.starts), ()),
        (profile_table(judge.profiles), ()),
        (load_table(judge.load), (plots.load(judge),)),
    ]
    shown = [
        _part(table, [plots.inline(plot, f"yoj {number} {place} {k}") for k, plot in enumerate(pictures) if plot])
        for place, (table, pictures) in enumerate(parts)
    ]
    head = f"<section>\n<h2>{_text(judge.model.name)}</h2>\n<p>{_text(summary(judge))}</p>"
    return "\n".join([head, *(part for part in shown if part), "</section>"])


def _environment(environment: Mapping[str, Any]) -> str:
    if not environment:
        return ""
    rows = [
        (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
        for key, value in environment.items()
    ]
    return _part(Table("environment", ("what", "found"), tuple(rows), left=(0, 1)), (), "h2")


def _part(table: Table, pictures: Iterable[str], heading: str = "h3") -> str:
    """Section of the page: heading, plots and table; empty where the table has no rows."""
    if not table.rows:
        return ""
    kind = ["" if number in table.left else ' class="number"' for number in range(len(table.heads))]
    heads = "".join(f"<th{k}>{_text(head)}</th>" for k, head in zip(kind, table.heads, strict=True))
    rows = "\n".join(
        f"<tr>{''.join(f'<td{k}>{_text(cell)}</td>' for k, cell in zip(kind, row, strict=True))}</tr>"
        for row in table.rows
    )
    title = plain(table.title)
    return "\n".join(
        [
            f"<{heading}>{_text(title[:1].upper() + title[1:])}</{heading}>",
            *(f"<figure>\n{picture}\n</figure>" for picture in pictures),
            f'<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>',
            *([f'<p class="note">{_text(table.note)}</p>'] if table.note else []),
        ]
    )


def _text(text: str) -> str:
    return escape(plain(text))
