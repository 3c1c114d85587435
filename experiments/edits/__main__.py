"""Judges of edited pictures: the study of joint training, the judge that ships, and judges as rewards of an editor.

\b
python -m experiments.edits judge .edits && python -m experiments.edits study .edits
python -m experiments.edits report
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import click

from yoj.runtime.options import readable_errors

from ..any_n.results import Record
from ..named_bundles import named_bundles

RESULTS = Path(__file__).parent / "results"
STEPS = 1000
IMITATION = 1000

folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
bundle_argument = click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
results_option = click.option(
    "--results", default=RESULTS, type=click.Path(file_okay=False, path_type=Path), help="Folder of the results."
)
seeds_option = click.option(
    "--seed", "seeds", multiple=True, type=int, default=(0, 1, 2), show_default=True, help="Seed; may be repeated."
)
imitation_option = click.option(
    "--imitation", default=IMITATION, show_default=True, help="Steps of the first editor's imitation."
)


@click.group(help=__doc__)
def main() -> None:
    """Command of the experiments."""


@main.command()
@folder_argument
@click.option("--share", "shares", multiple=True, type=float, help="Share of the language loss; may be repeated.")
@seeds_option
@click.option("--steps", default=STEPS, show_default=True, type=click.IntRange(min=1), help="Steps of each arm.")
@results_option
def study(folder: Path, shares: tuple[float, ...], seeds: tuple[int, ...], steps: int, results: Path) -> None:
    """Train a judge for each share of the language loss and each seed in FOLDER, and add its figures to the results.

    What is there is not done again. Processes with arms of their own may share the work.
    """
    from .judges import write_base
    from .study import SHARES
    from .study import study as add

    with readable_errors():
        write_base(folder, 0, click.echo)
        for seed in seeds:
            for share in shares or SHARES:
                name = f"share {share:g}, seed {seed}"
                file = results / f"share-{share:g}-seed-{seed}.json"
                add(folder, share, seed, steps, file, partial(_say, name))


@main.command()
@folder_argument
@click.option("--seed", default=0, show_default=True, help="Seed of data, weights and training.")
def judge(folder: Path, seed: int) -> None:
    """Train the judge that ships into FOLDER/edits-qwen3_vl: data, base, language, then both losses together.

    Takes about two hours on a core. What is in FOLDER already is not made again.
    """
    from .judges import make

    with readable_errors():
        make(folder, seed, click.echo)


@main.command()
@bundle_argument
@results_option
def cost(bundle: Path, results: Path) -> None:
    """Read N edits with a bundle in one joint pack, isolated in one pack, and in N passes."""
    from .cost import costs

    with readable_errors():
        costs(bundle, results / "cost.json", click.echo)


@main.command()
@click.argument("rewards", nargs=-1, metavar="[NAME=BUNDLE]...", callback=named_bundles)
@imitation_option
@click.option("--steps", default=150, show_default=True, help="Steps with each reward.")
@click.option("--kl", default=0.2, show_default=True, help="Weight of the divergence from the editor before.")
@seeds_option
@results_option
def loop(
    rewards: dict[str, Path], imitation: int, steps: int, kl: float, seeds: tuple[int, ...], results: Path
) -> None:
    """Train an editor with the truth as its reward, and others with the judges in BUNDLEs, from the same beginning."""
    from .base import tokenizer_file
    from .imitation import first_editor
    from .loop import LoopConfig, teach

    with readable_errors():
        for seed in seeds:
            first = cache(partial(first_editor, tokenizer_file(), seed, imitation, partial(_say, f"seed {seed}")))
            for reward in [("truth", None), *rewards.items()]:
                told = partial(_say, f"{reward[0]}, seed {seed}")
                teach(results, reward, LoopConfig(seed, imitation, steps, kl), first, told)


@main.command()
@bundle_argument
@imitation_option
@click.option("--steps", default=IMITATION, show_default=True, help="Steps of the correcting editor's imitation.")
@seeds_option
@results_option
def correction(bundle: Path, imitation: int, steps: int, seeds: tuple[int, ...], results: Path) -> None:
    """Tell an editor the rationales of a judge, whose bundle was exported with --language, and measure second edits."""
    from yoj.runtime import Scorer

    from ..any_n.results import Results
    from .base import tokenizer_file
    from .correction import by_judge, by_truth, nothing, run
    from .imitation import first_editor

    with readable_errors(), Scorer.load(bundle, threads=1) as scorer:
        if scorer.manifest.language is None:
            raise click.UsageError(f"{bundle} writes no rationales; export it with --language.")
        ways = {"nothing": nothing, "the judge": by_judge(scorer), "the truth": by_truth}
        about = {"judge": scorer.manifest.digest, "imitation": imitation, "steps": steps}
        for seed in seeds:
            told = partial(_say, f"seed {seed}")

            def make(seed: int = seed, told: Callable[[str], None] = told) -> Record:
                first = first_editor(tokenizer_file(), seed, imitation, told)
                return {"after": run(first, ways, seed, steps, told)}

            Results(results / f"correction-seed-{seed}.json", about).add({"seed": seed}, make)


def _say(name: str, text: str) -> None:
    click.echo(f"{name}: {text}")


@main.command()
@click.argument("index", type=click.IntRange(min=0))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def item(index: int, file: Path) -> None:
    """Draw the held-out item INDEX, its source and its edits with their grades, as the SVG picture FILE."""
    from .plot import draw_item

    draw_item(index, file)


@main.command()
@results_option
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write the curves to this SVG.")
def report(results: Path, plot: Path | None) -> None:
    """Print the tables of all results, and plot them."""
    from yoj.evaluation import EvaluationError

    from .plot import draw
    from .report import tables

    with readable_errors():
        if not (text := tables(results)):
            raise EvaluationError(f"{results} has no results; run the other commands first.")
        click.echo(text)
        if plot is not None:
            draw(results, plot)


if __name__ == "__main__":
    main()
