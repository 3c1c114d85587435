"""Judges on 2 to 64 answers, in one pack and by every other way of reading them, and how they err.

python -m experiments.any_n run multi=multi.yoj single=single.yoj && python -m experiments.any_n report
"""

from __future__ import annotations

from pathlib import Path

import click

from yoj.runtime.options import readable_errors

from ..named_bundles import named_bundles

RESULTS = Path(__file__).parent / "results"
ITEMS = 300

results_option = click.option(
    "--results", default=RESULTS, type=click.Path(file_okay=False, path_type=Path), help="Folder of the results."
)


@click.group(help=__doc__)
def main() -> None:
    """Command of the study."""


@main.command()
@click.argument("judges", nargs=-1, required=True, metavar="NAME=PATH...", callback=named_bundles)
@click.option(
    "--items", default=ITEMS, show_default=True, type=click.IntRange(min=2), help="Items, a third of each kind."
)
@results_option
def run(judges: dict[str, Path], items: int, results: Path) -> None:
    """Read the items with each bundle on one thread and write RESULTS/NAME.json; what is there is not done again.

    Judges that were trained in isolated mode are read in that alone. Processes with a judge each may share the work.
    Needs `pip install 'yoj[onnxruntime,calibrate,eval]'`.
    """
    from .study import study

    with readable_errors():
        for name, path in judges.items():
            study(path, items, results / f"{name}.json", lambda text, name=name: click.echo(f"{name}: {text}"))


@main.command()
@results_option
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write accuracy against N to this SVG.")
def report(results: Path, plot: Path | None) -> None:
    """Print the tables of all results, and plot accuracy against N."""
    from .plot import draw
    from .report import tables
    from .results import read_results

    with readable_errors():
        found = read_results(results)
        click.echo(tables(found))
        if plot is not None:
            draw(found, plot)


if __name__ == "__main__":
    main()
