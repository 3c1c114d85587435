"""Many rows on one machine: made, scored under kills, compared with a plain loop, and scored by Ray.

python -m experiments.bulk make FOLDER && python -m experiments.bulk kills judge.yoj FOLDER
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from yoj.runtime.machine import instruction_sets
from yoj.runtime.options import readable_errors

RESULTS = Path(__file__).parent / "results"

bundle_argument = click.argument("bundle", type=click.Path(exists=True, path_type=Path))
folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
results_option = click.option(
    "--results", default=RESULTS, type=click.Path(file_okay=False, path_type=Path), help="Folder of the results."
)


@click.group(help=__doc__)
def main() -> None:
    """Command of the trial."""


@main.command()
@folder_argument
@click.option("--rows", default=100_000, show_default=True, type=click.IntRange(min=1))
@click.option("--shards", default=10, show_default=True, type=click.IntRange(min=1))
def make(folder: Path, rows: int, shards: int) -> None:
    """Write rows about pictures of shapes to FOLDER/in, which must not be there."""
    from .shards import write_shards

    write_shards(folder / "in", rows, shards)


@main.command()
@bundle_argument
@folder_argument
@click.option("--kills", default=20, show_default=True, type=click.IntRange(min=0), help="Number of kills.")
@click.option("--most", default=30.0, show_default=True, help="Most seconds from a start or a kill to the next kill.")
@results_option
def kills(bundle: Path, folder: Path, kills: int, most: float, results: Path) -> None:
    """Score FOLDER/in into FOLDER/out with yoj-score, kill it at random moments, and start it again."""
    from .kills import Trial, run

    with readable_errors():
        told = run(Trial(bundle, folder / "in", folder / "out", kills, most), click.echo)
    _write(results / "kills.json", {"bundle": bundle.name, **told})


@main.command()
@bundle_argument
@folder_argument
@results_option
def compare(bundle: Path, folder: Path, results: Path) -> None:
    """Compare FOLDER/out with a plain loop over FOLDER/in: every row once, in order, with the same scores."""
    from .plain import compare

    with readable_errors():
        told = compare(bundle, folder / "in", folder / "out", lambda rows: rows % 5000 or click.echo(f"{rows:,} rows"))
    _write(results / "compare.json", {"bundle": bundle.name, **told})


@main.command()
@bundle_argument
@folder_argument
@click.option("--actors", multiple=True, default=[1, 2], show_default=True, type=click.IntRange(min=1))
@results_option
def ray(bundle: Path, folder: Path, actors: tuple[int, ...], results: Path) -> None:
    """Score FOLDER/in by so many actors, of one core each. Needs `pip install 'yoj[ray]'`."""
    from .on_ray import run

    with readable_errors():
        for count in actors:
            told = run(bundle.absolute(), folder.absolute() / "in", folder.absolute() / f"ray-{count}", count)
            _write(results / f"ray-{count}.json", {"bundle": bundle.name, **told})


def _write(file: Path, told: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**told, "cpu": [*instruction_sets()]}, indent=1)
    file.write_text(text + "\n", "utf-8")
    click.echo(text[:2000])


if __name__ == "__main__":
    main()
