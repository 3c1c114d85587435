"""Policies trained with judges as their reward: make what the runs need, run them, and print the tables.

python -m experiments.grpo prepare .grpo && python -m experiments.grpo run .grpo && python -m experiments.grpo report
"""

from __future__ import annotations

from pathlib import Path

import click

from yoj.runtime.options import readable_errors

RESULTS = Path(__file__).parent / "results"
COMPARED = [("multi", 8), ("single", 8), ("truth", 8)]
OTHERS = [("multi-int8", 8), ("passes", 8), ("multi", 4), ("multi", 16), ("single", 4), ("single", 16)]
RUNS = [*((*run, 5) for run in COMPARED), *((*run, 3) for run in OTHERS)]
"""Runs of the tables: reward, group size, and number of seeds."""

folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
results_option = click.option(
    "--results", default=RESULTS, type=click.Path(file_okay=False, path_type=Path), help="Folder of the runs' files."
)


@click.group(help=__doc__)
def main() -> None:
    """Command of the experiment."""


@main.command()
@folder_argument
def prepare(folder: Path) -> None:
    """Make data, the single-response judge, the bundles and the starting policy in FOLDER: half an hour on 2 cores.

    What is in FOLDER already is not made again. Needs `pip install 'yoj[train,calibrate]'`.
    """
    from .prepare import prepare as make

    with readable_errors():
        make(folder, click.echo)


@main.command()
@folder_argument
@results_option
@click.option("--arm", "arms", multiple=True, help="Reward to run, of all in the tables; may be repeated.")
@click.option("--seed", "seeds", multiple=True, type=int, help="Seed to run, of 3 or 5; may be repeated.")
@click.option(
    "--steps",
    default=100,
    show_default=True,
    type=click.IntRange(min=1),
    help="Steps of each run; tables are of the default.",
)
def run(folder: Path, results: Path, arms: tuple[str, ...], seeds: tuple[int, ...], steps: int) -> None:
    """Run what is missing of the tables: two to four minutes a run on one core. Needs `pip install 'yoj[trl]'`.

    Several processes may share the work, each with seeds of its own.
    """
    if not (folder / "start").is_dir():
        raise click.ClickException(
            f"{folder} has no starting policy; run `python -m experiments.grpo prepare {folder}`."
        )
    from .run import RunConfig, write
    from .run import run as train

    with readable_errors():
        for arm, group, count in RUNS:
            for seed in seeds or range(count):
                config = RunConfig(arm, group, seed, steps)
                file = results / f"{config.name}.json"
                if file.is_file() or (arms and arm not in arms):
                    continue
                click.echo(config.name)
                write(train(config, folder, click.echo), file)


@main.command()
@results_option
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write learning curves to this SVG.")
def report(results: Path, plot: Path | None) -> None:
    """Print the tables of all runs, and plot their learning curves."""
    from .report import draw, read_runs, tables

    with readable_errors():
        runs = read_runs(results)
        click.echo(tables(runs))
        if plot is not None:
            draw(runs, plot)


if __name__ == "__main__":
    main()
