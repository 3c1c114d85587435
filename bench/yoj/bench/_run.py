"""Run of ``yoj-bench run``: measure, print, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from ._environment import describe
from ._kinds import placed
from ._limits import measure_device_limits, measure_limits
from ._measure import BenchSettings, measure
from ._records import write_figures
from ._report import write_report
from ._requests import Size
from ._results import Results
from ._tables import judge_text, limits_table
from ._workbench import bundles_in


def run(
    folders: Sequence[Path],
    parts: Sequence[Any],
    size: Mapping[str, int],
    how: Mapping[str, Any],
    files: tuple[Path | None, Path | None],
) -> None:
    """Measure folders one after the other; results are written after each.

    Args:
        folders: folders of models; see `yoj.bench._workbench.open_workbench`.
        parts: values of `yoj.bench._measure.Part`.
        size: values for fields of `Size`.
        how: values for further fields of `BenchSettings`.
        files: paths of the results and of the report.
    """
    for folder in folders:
        bundles_in(folder)
    environment = describe(how["threads"])
    out, html = (file and placed(file, environment) for file in files)
    for file in (out, html):
        if file is not None:  # an hour later is too late to find that it cannot be written
            file.parent.mkdir(parents=True, exist_ok=True)
            file.open("ab").close()
    settings = BenchSettings(parts=parts, size=Size(**size), **how)
    click.echo("limits of the machine", err=True)
    on_cpu = settings.device == "cpu"
    limits = measure_limits(settings.threads) if on_cpu else measure_device_limits(settings.device)
    results = Results(environment=environment, limits=limits, judges=())
    for folder in folders:
        judge = measure(folder, settings, limits)
        results = msgspec.structs.replace(results, judges=(*results.judges, judge))
        write_figures(out, results, environment)
        if html is not None:
            write_report(results, html)
    click.echo(limits_table(limits))
    for judge in results.judges:
        click.echo(f"\n{judge_text(judge)}")
    click.echo(msgspec.json.encode(results).decode())
