"""``yoj-bench``: costs of a judge as a bundle, compared with PyTorch, on this machine.

A command of another file is named as the module that measures: ``yoj-bench cold-start`` is `yoj.bench._cold_start`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from yoj.export.options import prepare_libraries
from yoj.runtime.deprecation import renamed_text
from yoj.runtime.engines import ENGINES
from yoj.runtime.options import HubFolder, readable_errors
from yoj.runtime.version import __version__

from . import _cli_bundle as cli_bundle
from . import _cli_gpu as cli_gpu
from . import _cli_large as cli_large
from . import _cli_operators as cli_operators
from . import _cli_serving as cli_serving
from ._options import FILE, FOLDER, READABLE, out_option, repeats_option, threads_option
from ._results import PARTS
from ._shapes import SHAPES

DEFAULT_PARTS = PARTS[:5]


class PartChoice(click.Choice[str]):
    """Type of a value from `PARTS`; the name that a part had in yoj 0.1 works with a warning."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a value; see `click.ParamType.convert`."""
        if value == "contestants":
            click.echo(f"warning: {renamed_text('--part contestants', '--part variants')}", err=True)
            value = "variants"
        return super().convert(value, param, ctx)


@click.group()
@click.version_option(__version__, prog_name="yoj-bench")
def main() -> None:
    """Measure bundles against PyTorch: same inputs, same threads, in turns, scores compared.

    \b
    yoj-bench make checkpoints/shapes-qwen3_vl bench-qwen3_vl
    yoj-bench run bench-qwen3_vl --out results.json --html report.html
    yoj-bench compare before.json results.json
    """


@main.command()
@click.argument("judge", type=HubFolder("checkpoint", exists=True))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--shape", type=click.Choice(SHAPES), default="deep", show_default=True,
              help="deep: 36 layers at a quarter of the width of a 4B model; wide: 3 at all of it.")  # fmt: skip
@click.option("--precision", "precisions", multiple=True, default=("float32", "int8"), show_default=True,
              help="Precision of a bundle; may be repeated.")  # fmt: skip
def make(judge: Path, folder: Path, shape: str, precisions: tuple[str, ...]) -> None:
    """Write a model with the proportions of a 4B one and random weights to FOLDER, and its bundles.

    JUDGE is a checkpoint whose family, tokenizer and head are taken. To measure a model of your own, make a folder with
    its merged checkpoint as ``checkpoint`` (a link will do) and bundles of it, ``*.yoj``.
    """
    from ._make import make as write

    if folder.exists():
        raise click.UsageError(f"{folder} exists. Choose another FOLDER, or remove it.")
    with readable_errors():
        write(judge, folder, SHAPES[shape], precisions)
    click.echo(folder)


@main.command()
@click.argument("folders", nargs=-1, required=True, type=FOLDER)
@out_option
@click.option("--html", type=FILE, help="Write a report to this file, a page with tables and plots.")
@click.option("--part", "parts", multiple=True, type=PartChoice(PARTS), default=DEFAULT_PARTS, show_default=True,
              help="Part to measure; may be repeated.")  # fmt: skip
@click.option(
    "--prompt-tokens",
    default=512,
    show_default=True,
    type=click.IntRange(min=1),
    help="Tokens of the prompt, P, image included.",
)
@click.option(
    "--response-tokens", default=64, show_default=True, type=click.IntRange(min=1), help="Tokens of each response, R."
)
@click.option("--n", default=8, show_default=True, type=click.IntRange(min=1), help="Responses, N.")
@click.option("--image-side", default=0, show_default=True, type=click.IntRange(min=0),
              help="Side of a square image, in pixels; 0: text alone.")  # fmt: skip
@threads_option
@repeats_option(6)
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Device of PyTorch."
)
@click.option("--engine", type=click.Choice(list(ENGINES)), help="Engine of the bundles.  [default: their first]")
def run(
    folders: tuple[Path, ...],
    out: Path | None,
    html: Path | None,
    parts: tuple[str, ...],
    prompt_tokens: int,
    response_tokens: int,
    n: int,
    image_side: int,
    **how: Any,
) -> None:
    """Measure FOLDERS, of yoj-bench make or of your own.

    Tables go to the terminal; the last line is the results, one JSON object.
    """
    # PyTorch's idle threads would else go on spinning, in the turns of others too. Read when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    prepare_libraries()
    from ._run import run as measure

    size = {"prompt": prompt_tokens, "response": response_tokens, "n": n, "side": image_side}
    with readable_errors():
        measure(folders, parts, size, how, (out, html))


@main.command()
@click.argument("old", type=READABLE)
@click.argument("new", type=READABLE)
def compare(old: Path, new: Path) -> None:
    """Report what became faster or slower from OLD to NEW, beyond both intervals; exit with 1 where one is worse.

    That is decided for variants and sweeps, whose times have intervals. Cold starts are shown; what else is in the
    files, phases, savings, profiles and load, is not compared.
    """
    from ._compare import compare as say
    from ._compare import regressions
    from ._results import read_results

    with readable_errors():
        before, after = read_results(old), read_results(new)
    click.echo(say(before, after))
    if worse := regressions(before, after):
        raise click.ClickException("\n  ".join(["worse than before:", *worse]))


@main.command()
@click.argument("results", nargs=-1, required=True, type=READABLE)
@click.option("--html", type=FILE, help="Write the report of one run to this file.")
@click.option("--readme", type=READABLE, help="Replace the table of ratios between this file's bench markers.")
@click.option("--tables", type=READABLE, help="Replace all tables between this file's bench markers.")
def report(results: tuple[Path, ...], html: Path | None, readme: Path | None, tables: Path | None) -> None:
    """Write a report or the tables of the docs again, from RESULTS of earlier runs.

    The folder that results stand in names the kind of CPU that they hold for.
    """
    from ._readme import all_tables, ratios, update
    from ._report import write_report
    from ._results import read_results

    if html is None and readme is None and tables is None:
        raise click.UsageError("Say what to write: --html FILE, --readme FILE, --tables FILE, or several.")
    with readable_errors():
        found = [(file.resolve().parent.name, read_results(file)) for file in results]
        if html is not None:
            if len(found) > 1:
                raise click.UsageError(f"A report is of one run, and {len(found)} are given.")
            write_report(found[0][1], html)
        if readme is not None:
            update(readme, ratios(found))
        if tables is not None:
            update(tables, all_tables(found))


COMMANDS = (
    *(cli_bundle.latency, cli_bundle.bulk, cli_bundle.runtime_cost, cli_bundle.cold_start, cli_bundle.vllm_peer),
    *(cli_large.large_checkpoint, cli_large.export_large, cli_large.vision_cost),
    *(cli_operators.products, cli_operators.pieces),
    *(cli_gpu.gpu, cli_gpu.gpu_bundles, cli_gpu.needs, cli_gpu.parity),
    *(cli_serving.serve, cli_serving.soak),
)
for _command in COMMANDS:
    main.add_command(_command)


if __name__ == "__main__":
    main()
