"""``yoj-calibrate probabilities``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from yoj.runtime.engines import ENGINES
from yoj.runtime.manifest import Quality
from yoj.runtime.options import Given, HubFolder, readable_errors, reading_options

from ._by_n import Temperatures
from ._probabilities import DIAGRAM, REPORT, CalibrationJob, calibrate, notes


@click.command()
@click.argument("bundle", type=HubFolder("bundle", written=True))
@click.argument("rankings", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    help="Engine of the scores; probabilities are calibrated for its precision only.  [default: the bundle's first]",
)
@click.option(
    "--mode",
    type=click.Choice(["joint", "isolated"]),
    help="Mode in which responses are read; probabilities are calibrated for it only.  [default: as trained]",
)
@reading_options
def probabilities(bundle: Path, rankings: Path, engine: str | None, mode: Any, given: Given) -> None:
    """Fit the temperatures of the probabilities of BUNDLE on RANKINGS, and put them into it.

    RANKINGS has a request in each line, as yoj-score reads them, with rankings (1 = best) and none of them seen in
    training. There is one temperature for each number of responses. What it is worth is measured on requests that it
    was not fitted on: each half of them at the temperatures of the other.
    """
    if missing := [name for name in ("torch", "matplotlib", "tqdm") if importlib.util.find_spec(name) is None]:
        raise click.ClickException(f"{', '.join(missing)} is not installed. Run: pip install 'yoj[calibrate]'")
    from tqdm import tqdm

    with readable_errors(), tqdm(desc="scoring", unit="request") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        outcome = calibrate(CalibrationJob(bundle, rankings, engine, mode, given.reading(rankings.parent)), advance)
    click.echo(table(outcome.temperatures))
    for note in notes(outcome.temperatures):
        click.echo(note)
    click.echo(f"\n{bundle}: temperatures are in the manifest, with {REPORT} and {DIAGRAM}.")


def table(found: Temperatures) -> str:
    """Temperatures as text, a line for each N and one for all."""
    lines = [f"{'N':>4}  {'samples':>7}  {'temperature':>18}  {'NLL':>16}  {'Brier':>16}  {'ECE':>16}"]
    for row in (*found.by_n, found.pooled):
        error = "bounded" if row.fit.bound else f"± {row.fit.temperature * row.fit.relative_error:.2g}"
        temperature = f"{row.fit.temperature:.4g} {error if row.own else 'of all'}"
        pairs = zip(_columns(row.before), _columns(row.after), strict=True)
        cells = "  ".join(f"{f'{before:.4f} -> {after:.4f}':>16}" for before, after in pairs)
        lines.append(f"{row.n or 'all':>4}  {row.samples:>7}  {temperature:>18}  {cells}")
    return "\n".join(lines)


def _columns(quality: Quality) -> tuple[float, float, float]:
    return quality.nll, quality.brier, quality.ece
