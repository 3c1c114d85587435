"""Judges of edited pictures: the study of joint training, and judges as rewards of an editor.

python -m experiments.edits study .edits && python -m experiments.edits report
"""

from __future__ import annotations

from pathlib import Path

import click

from yoj.runtime.options import readable_errors

RESULTS = Path(__file__).parent / "results"
STEPS = 500

folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
results_option = click.option(
    "--results", default=RESULTS, type=click.Path(file_okay=False, path_type=Path), help="Folder of the results."
)


@click.group(help=__doc__)
def main() -> None:
    """Command of the experiments."""


@main.command()
@folder_argument
@click.option("--share", "shares", multiple=True, type=float, help="Share of the language loss; may be repeated.")
@click.option("--seed", "seeds", multiple=True, type=int, help="Seed; may be repeated.")
@click.option("--steps", default=STEPS, show_default=True, type=click.IntRange(min=1), help="Steps of each arm.")
@results_option
def study(folder: Path, shares: tuple[float, ...], seeds: tuple[int, ...], steps: int, results: Path) -> None:
    """Train a judge for each share of the language loss and each seed in FOLDER, and add its figures to the results.

    What is there is not done again. Processes with arms of their own may share the work.
    """
    from .judges import write_data
    from .study import SEEDS, SHARES
    from .study import study as add

    with readable_errors():
        write_data(folder, 0, click.echo)
        for seed in seeds or SEEDS:
            for share in shares or SHARES:
                name = f"share {share:g}, seed {seed}"
                file = results / f"share-{share:g}-seed-{seed}.json"
                add(folder, share, seed, steps, file, lambda text, name=name: click.echo(f"{name}: {text}"))


if __name__ == "__main__":
    main()
