"""``yoj-eval run`` and ``yoj-eval list``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import click

from yoj.runtime.manifest import Mode
from yoj.runtime.options import readable_errors
from yoj.runtime.request import Method

from ._judge_options import JudgeOptions, judge_options
from .benchmarks._base import Benchmark, TieRule
from .benchmarks._table import BENCHMARKS

EPILOG = """\b
Examples:
  yoj-eval run vl-rewardbench MMInstruction/VL-RewardBench@main \\
      --bundle judge.yoj --out runs/judge
  yoj-eval run rewardbench2 data/test.parquet --checkpoint adapter/ \\
      --base Molmo2-4B/ --layout assistant --precision bfloat16 --out runs/torch
  yoj-eval run mmrb2 t2i.json --url http://127.0.0.1:8000 --out runs/served
  yoj-eval compare runs/judge runs/torch

\b
PATH is a file or folder of the benchmark as it is published or, where there is
none of that name, org/name@revision of a data set of the Hugging Face hub.
yoj-eval list names the benchmarks, and the data set of each.

\b
The folder --out then holds:
  run.json           settings, seed, judge, files of the benchmark by SHA-256
  predictions.jsonl  a line for each item: orders, scores, errors, notices
  results.json       figures with 95% intervals and what they are taken over
  report.html        tables, plots, and the worst failures with their pictures
  official/          predictions as the benchmark's own script reads them

\b
A command that was stopped goes on where it was when it is repeated, and tries
failed items again. Repeated with another --ties it computes all figures again
and scores nothing. Exit status: 0 when every item was scored, 1 when some
failed or rows cannot be scored, 2 when the command itself was wrong.
"""


def _benchmark(ctx: click.Context, parameter: click.Parameter, value: str) -> Benchmark:
    if value in BENCHMARKS:
        return BENCHMARKS[value]
    near = get_close_matches(value, BENCHMARKS, 1)
    told = f"Did you mean {near[0]}?" if near else f"Give one of {', '.join(BENCHMARKS)}."
    raise click.BadParameter(f"{value} is no benchmark that yoj knows. {told}", ctx, parameter)


def _fields(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    renamed: dict[str, str] = {}
    for value in values:
        name, equals, there = value.partition("=")
        if not (name and equals and there):
            raise click.BadParameter(f"{value} is not NAME=NAME, as in question=prompt.", ctx, parameter)
        if name in renamed:
            raise click.BadParameter(f"{name} is given twice.", ctx, parameter)
        renamed[name] = there
    return renamed


@click.command(epilog=EPILOG)
@click.argument("benchmark", callback=_benchmark)
@click.argument("path")
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the run's results."
)
@judge_options
@click.option(
    "--mode",
    type=click.Choice(list(get_args(Mode))),
    help="joint: each response sees those before it. isolated: each is scored as if alone.  [default: as trained]",
)
@click.option(
    "--n-method",
    type=click.Choice(list(get_args(Method))),
    default="pack",
    show_default=True,
    help="More responses than the judge was trained on: in one pack all the same, or in overlapping packs of as many, "
    "whose scores are joined.",
)
@click.option(
    "--passes",
    type=click.IntRange(min=1),
    help="Most packs of groups, two rounds at least.  [default: four rounds of all responses]",
)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME=NAME",
    callback=_fields,
    help="Name that yoj knows a field by, and the file's own; may be repeated. yoj-eval list shows them.",
)
@click.option(
    "--ties",
    type=click.Choice(list(get_args(TieRule))),
    help="Credit of an item where a worse response has the highest score too: none, all, or a share.  [default: as "
    "yoj-eval list says]",
)
@click.option(
    "--orders",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Orders in which each item is read: a random one, its reverse, then rotations. The official figures are of "
    "the first.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the orders and of the intervals.")
@click.option("--limit", type=click.IntRange(min=1), help="Read only so many rows, from the first.")
@click.option("--skip-invalid", is_flag=True, help="Leave out rows that cannot be scored; the results count them.")
def run(
    benchmark: Benchmark,
    path: str,
    out: Path,
    judge: JudgeOptions,
    mode: Mode | None,
    n_method: Method,
    passes: int | None,
    fields: dict[str, str],
    ties: TieRule | None,
    orders: int,
    seed: int,
    limit: int | None,
    skip_invalid: bool,
) -> None:
    """Measure a judge on BENCHMARK, whose files are at PATH, by the benchmark's own rules."""
    from ._benchmark_run import RunSettings
    from ._passes import HowRead

    if orders < benchmark.orders:
        raise click.UsageError(f"The figures of {benchmark.name} need --orders {benchmark.orders} or more.")
    if passes is not None and n_method != "groups":
        raise click.UsageError("--passes is for --n-method groups.")
    how = HowRead(mode, "groups" if n_method == "groups" else None, passes)
    settings = RunSettings(orders, seed, how, limit, fields)
    with readable_errors():
        failed = _evaluate(EvaluationJob(benchmark, path, out, judge, settings, ties or benchmark.ties, skip_invalid))
    if failed:
        sys.exit(1)


@dataclass(frozen=True)
class EvaluationJob:
    """Judge and benchmark of one command."""

    benchmark: Benchmark
    path: str
    out: Path
    judge: JudgeOptions
    settings: Any
    """Settings, a `yoj.evaluation._benchmark_run.RunSettings`."""
    ties: TieRule
    skip_invalid: bool


def _evaluate(job: EvaluationJob) -> int:
    """Score, write and show; returns the number of items that the judge failed on."""
    from tqdm import tqdm

    from ._benchmark_run import begin, identity, read_items, score, told_refusals
    from ._finish import REPORT, finish
    from ._source import open_source
    from ._table import summary

    source = open_source(job.path, job.benchmark)
    sheet = read_items(job.benchmark, source.path, job.settings)
    if sheet.refused:
        click.echo(told_refusals(sheet), err=True)
        if not job.skip_invalid:
            raise click.ClickException(
                "Nothing was scored. Mend these rows, or leave them out with --skip-invalid, which the results say."
            )
        if not sheet.items:
            raise click.ClickException("Nothing was scored: no row is left.")
    source = source.with_media(sheet.items)
    judge = job.judge.open()
    facts = identity(job.benchmark, source.record, {"given_by": job.judge.kind, **judge.about}, job.settings)
    begin(job.out, facts, {"path": job.path, "judge": job.judge.told}, source.check_same)
    with tqdm(total=len(sheet.items), desc="scoring", unit="item", file=sys.stderr, disable=None) as bar:
        predictions = score(sheet, judge, job.settings, job.out, bar.update)
    click.echo("computing intervals", err=True)
    results = finish(job.out, job.benchmark, sheet, predictions, job.settings, job.ties)
    click.echo(summary(results))
    click.echo(f"\nReport: {job.out / REPORT}")
    return results.failed


@click.command("list")
def list_benchmarks() -> None:
    """Show the benchmarks: what each holds, its data set, its fields, and its rule for ties."""
    for benchmark in BENCHMARKS.values():
        click.echo(f"{benchmark.name}: {benchmark.title}")
        click.echo(f"  {benchmark.told}")
        click.echo(f"  Data set: {benchmark.hub or 'none on the hub; give its files'}")
        if benchmark.fields:
            click.echo(f"  Fields for --field: {', '.join(benchmark.fields)}")
        published = "" if benchmark.ties_published else " (it publishes no rule for them)"
        click.echo(f"  Equal highest scores count as: {benchmark.ties}{published}")
        if benchmark.unsure:
            click.echo(f"  Not confirmed: {benchmark.unsure}")
