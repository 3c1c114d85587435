"""``yoj-bench gpu``, ``gpu-bundles``, ``needs`` and ``parity``: checks that engines run and score right here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from yoj.export.options import prepare_libraries
from yoj.runtime.engines import ENGINES
from yoj.runtime.options import readable_errors

from ._needs import NEEDS, missing
from ._options import FOLDER, out_option
from ._records import write_figures

GPU_RESULTS = Path("bench/results/gpu")


@click.command()
@click.option("--part", "names", multiple=True,
              help="Run this part, also where it has a result; may be repeated. docs/gpu.md lists them.  "
              "[default: all without a result]")  # fmt: skip
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), default=GPU_RESULTS, show_default=True,
              help="Folder of the results, in which one is made for the GPU.")  # fmt: skip
def gpu(names: tuple[str, ...], results: Path) -> None:
    """Run every check and measurement that needs a GPU, the most valuable first, within ten minutes.

    What a part gives is written when it ends, also where it fails or runs out of time. Started again, the command runs
    the parts that have no result for this code and this GPU. Bundles are made before the ten minutes begin.

    Exit status: 0 where all that ran has passed, 1 where something failed, 2 where nothing ran.
    """
    from ._gpu import exit_status, table, visit_machine

    with readable_errors():
        done = visit_machine(names, results)
    click.echo(f"\n{table(done)}")
    sys.exit(exit_status(done))


@click.command()
@click.argument("judge", type=FOLDER)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--precision", "precisions", multiple=True, required=True,
              help="Precision of a bundle; may be repeated.")  # fmt: skip
@click.option("--layers", type=click.IntRange(min=2),
              help="Layers of a model as wide as a 4B one, with random weights, in place of the judge.")  # fmt: skip
def gpu_bundles(judge: Path, folder: Path, precisions: tuple[str, ...], layers: int | None) -> None:
    """Write bundles of JUDGE, ``<precision>.yoj``, to FOLDER, with its checkpoint; what is there is kept.

    In quantised bundles all matrices of the trunk are, without smoothing, and the rest is float16.
    """
    prepare_libraries()
    from ._gpu_bundles import write_bundles

    with readable_errors():
        write_bundles(judge, folder, precisions, layers)


@click.command()
@click.argument("need", type=click.Choice(NEEDS))
def needs(need: str) -> None:
    """Print what is missing here to run NEED on a GPU; nothing where all is there."""
    click.echo(missing(need) or "", nl=False)


@click.command()
@click.argument("folders", nargs=-1, required=True, type=FOLDER)
@click.option("--engine", required=True, type=click.Choice(list(ENGINES)), help="Engine of the bundles.")
@click.option("--precision", "precisions", multiple=True, required=True,
              help="Precision of a bundle; may be repeated.")  # fmt: skip
@out_option
def parity(folders: tuple[Path, ...], engine: str, precisions: tuple[str, ...], out: Path | None) -> None:
    """Compare the bundles ``<precision>.yoj`` of FOLDERS with the checkpoints beside them; exit with 1 if one differs.

    Plans of TensorRT are built first, in the bundles. A bundle that fails does not stop the others.
    """
    prepare_libraries()
    from ._environment import describe
    from ._parity import compare_all, line

    rows: list[dict[str, Any]] = []
    environment = describe(os.cpu_count() or 1)
    with readable_errors():
        for row in compare_all(folders, precisions, engine):
            rows.append(row)
            click.echo(line(row))
            write_figures(out, rows, environment)  # as they come: a later one may run out of time
    if wrong := [f"{row['judge']} {row['precision']}" for row in rows if not row["passed"]]:
        raise click.ClickException(f"{engine} does not score as the stock model does: {', '.join(wrong)}")
