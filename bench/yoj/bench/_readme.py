"""Tables of speed in the README and the docs, written from bench results of different kinds of CPU."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from ._errors import BenchError
from ._kinds import instruction_sets_text
from ._results import JudgeResult, Results, Saving, Start, VariantResult, baseline, ranked
from ._tables import (
    Table,
    counted,
    megabytes,
    milliseconds,
    number,
    over_weights,
    plain,
    times,
    unranked,
    why_not,
)

BEGIN = "<!-- bench: begin -->"
END = "<!-- bench: end -->"
MACHINE = {"machine": "{}", "cpu": "{}", "cores": "{} cores"}
"""Entries of the environment, and their wording."""
VERSIONS = ("python", "torch", "onnxruntime", "transformers")


def ratios(found: Sequence[tuple[str, Results]]) -> str:
    """Markdown for the README: the kinds of CPU, and a table with the bundles' speed-up over PyTorch on each.

    Args:
        found: pairs of a kind of CPU and results of each.
    """
    judges = [(kind, judge) for kind, results in found for judge in results.judges if judge.variants]
    judges.sort(key=lambda pair: -pair[1].model.layers)  # the whole depth first
    names = list(dict.fromkeys(c.name for _, judge in judges for c in judge.variants if c.vendor == "yoj"))
    rows = tuple(
        (kind, _model(judge), _best(judge), *(_ratio(judge, name) for name in names)) for kind, judge in judges
    )
    table = Table("", ("CPU", "model", "best PyTorch, packed", *names), rows, left=(0, 1, 2))
    lines = dict.fromkeys(f"- **{_text(kind)}**: {_machine(results)}" for kind, results in found)
    return "\n\n".join(["\n".join(lines), _markdown(table)])


def all_tables(found: Sequence[tuple[str, Results]]) -> str:
    """Markdown for the docs: variants, saving of one pass, and memory of a process, by kind of CPU and judge.

    Args:
        found: pairs of a kind of CPU and results of each.
    """
    parts: list[str] = []
    for kind, results in found:
        parts.append(f"## {_text(kind)}\n\n{_machine(results)}")
        for judge in results.judges:
            tables = [_variants(judge), _savings(judge.savings), _starts(judge.starts)]
            parts += [_line(judge), *(_markdown(table) for table in tables if table.rows)]
    return "\n\n".join(parts)


def update(readme: Path, table: str) -> None:
    """Replace the text between the two markers, each on a line of its own.

    Raises:
        BenchError: the file cannot be read, or a marker is missing, doubled or out of order.
    """
    try:
        lines = readme.read_bytes().decode("utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{readme} cannot be read: {error}.") from error
    places = {marker: [n for n, line in enumerate(lines) if line.strip() == marker] for marker in (BEGIN, END)}
    for marker, found in places.items():
        if len(found) != 1:
            where = f", on lines {', '.join(str(n + 1) for n in found)}" if found else ""
            raise BenchError(
                f"{readme} has the line {marker} {counted(len(found), 'time')}{where}. Put {BEGIN} and {END} once "
                "each, on lines of their own, where the table shall stand."
            )
    (begin,), (end,) = places.values()
    if end < begin:
        raise BenchError(f"{readme} has {END} on line {end + 1}, before {BEGIN} on line {begin + 1}. Swap them.")
    readme.write_bytes("".join([*lines[: begin + 1], f"\n{table}\n\n", *lines[end:]]).encode("utf-8"))


def _line(judge: JudgeResult) -> str:
    """Description of the model and the request."""
    shape = judge.shape
    return (
        f"**{_text(judge.model.name)}**, {_size(judge)}, {judge.model.parameters / 1e6:,.1f} M parameters; "
        f"L={shape.L:,}, N={shape.N}, {counted(shape.threads, 'thread')}"
    )


def _size(judge: JudgeResult) -> str:
    return f"{counted(judge.model.layers, 'layer')}, D={judge.model.D:,}"


def _model(judge: JudgeResult) -> str:
    return f"{judge.model.family}, {_size(judge)}, L={judge.shape.L:,}, N={judge.shape.N}"


def _machine(results: Results) -> str:
    """Description of the machine."""
    environment = results.environment
    machine = [words.format(environment[key]) for key, words in MACHINE.items() if key in environment]
    versions = [f"{key} {environment[key]}" for key in VERSIONS if key in environment]
    date = [str(environment["date"])] if "date" in environment else []
    sets = [f"instruction sets: {instruction_sets_text(environment)}"]
    about = [", ".join(part) for part in (machine, sets, versions, date) if part]
    return _text("; ".join(about))


def _best(judge: JudgeResult) -> str:
    """Fastest PyTorch that reads all responses in one sequence."""
    best = next((c for c in ranked(judge) if c.vendor == "PyTorch" and c.strategy == "packed"), None)
    return "" if best is None else f"{best.name.removeprefix('PyTorch ')}: {milliseconds(best.time)} ms"


def _ratio(judge: JudgeResult, name: str) -> str:
    found: VariantResult | None = next((c for c in judge.variants if c.name == name), None)
    if found is None:
        return ""
    return times(baseline(judge, found), found) if found in ranked(judge) else why_not(found)


def _variants(judge: JudgeResult) -> Table:
    rows = [(c, times(baseline(judge, c), c)) for c in ranked(judge)] + [(c, why_not(c)) for c in unranked(judge)]
    return Table(
        "",
        ("variant", "precision", "strategy", "ms", "times the best PyTorch that reads likewise", "score difference"),
        tuple(
            (c.name, c.precision, c.strategy, milliseconds(c.time), compared, f"{c.difference:.1e}")
            for c, compared in rows
        ),
        left=(0, 1, 2),
    )


def _savings(savings: Sequence[Saving]) -> Table:
    rows = tuple((str(s.N), s.precision, number(s.predicted), number(s.measured), number(s.engine)) for s in savings)
    heads = (
        "N",
        "PyTorch in",
        "one pass saves, predicted (times)",
        "measured in PyTorch",
        "yoj float32 against N PyTorch passes",
    )
    return Table("", heads, rows, left=(1,))


def _starts(starts: Sequence[Start]) -> Table:
    rows = tuple((s.bundle, s.precision, megabytes(s.resident), megabytes(s.weights), over_weights(s)) for s in starts)
    heads = ("bundle", "precision", "resident MB after a score", "weights MB", "resident/weights")
    return Table("", heads, rows, left=(0, 1))


def _markdown(table: Table) -> str:
    rules = ["---" if number in table.left else "---:" for number in range(len(table.heads))]
    return "\n".join(f"| {' | '.join(map(_text, row))} |" for row in (table.heads, rules, *table.rows))


def _text(text: str) -> str:
    """Text as a cell shows it; ``<`` is escaped too, as a name must not be able to end the part between the markers."""
    return escape(plain(text), quote=False).replace("|", "\\|").replace("`", "\\`").replace("*", "\\*")
