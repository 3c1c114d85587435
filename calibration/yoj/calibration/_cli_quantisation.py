"""``yoj-calibrate quantisation``."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import click

from yoj.export.options import checkpoint_options, prepare_libraries
from yoj.runtime.options import Given, readable_errors, reading_options
from yoj.runtime.schemes import SCHEMES


class Share(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]  (generic in newer versions alone)
    """Share of a command line, as ``0.5%`` or ``0.005``."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert a value to a share from 0 to 1."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            self.fail(f"{value} is not a share such as 0.5% or 0.005.", param, ctx)
        return share


@click.command()
@checkpoint_options
@click.option(
    "--statistics",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of yoj-calibrate statistics, of the same checkpoint.",
)
@click.option(
    "--requests",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Requests in JSON lines on which rankings are compared: 200 or more, not those of the statistics, and not "
    "those that accuracy is reported on in the end.",
)
@click.option(
    "--scheme",
    type=click.Choice(list(SCHEMES)),
    default="int8",
    show_default=True,
    help="; ".join(f"{name}: {scheme.help}" for name, scheme in SCHEMES.items()) + ".",
)
@click.option(
    "--max-flips",
    type=Share(),
    default="0.5%",
    show_default=True,
    help="Largest share of the requests whose best response may become another.",
)
@click.option("--no-smoothing", is_flag=True, help="Leave the inputs of the matrices as they are.")
@click.option("--embeddings", is_flag=True, help="Also store the embedding table in 8 bits, a scale for each row.")
@click.option(
    "--vision",
    is_flag=True,
    help="Choose among the matrices of the vision tower too; statistics and requests must show images or videos.",
)
@reading_options
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the quantisation config."
)
def quantisation(
    checkpoints: tuple[Path, ...],
    base: Path | None,
    layout: Any,
    mode: Any,
    hidden_state: Any,
    video_expansion: Any,
    statistics: Path,
    requests: Path,
    scheme: Any,
    max_flips: float,
    no_smoothing: bool,
    embeddings: bool,
    vision: bool,
    given: Given,
    out: Path,
) -> None:
    """Choose which matrices of CHECKPOINTS go into 8 or 4 bits, by what their rankings lose.

    All matrices are tried first, with several strengths of smoothing. If they change more first places than the budget
    allows, each is tried alone, and the largest set of mild ones within the budget is taken. yoj-export build
    --precision int8 --quantisation FOLDER applies the result.
    """
    with readable_errors():
        prepare_libraries()
        if importlib.util.find_spec("matplotlib") is None:
            raise click.ClickException("matplotlib is not installed. Run: pip install 'yoj[calibrate]'")
        from yoj.export import Training
        from yoj.export.checkpoint.checkpoint import Checkpoint
        from yoj.export.quantisation.config import write_config
        from yoj.runtime.lines import read_requests

        from ._chart import CHART, draw, table
        from ._collect import CalibratedModel
        from ._samples import require_unseen
        from ._search import SearchConfig, search
        from ._statistics import load

        begin = time.perf_counter()
        known = load(statistics)
        asked = read_requests(requests, reading=given.reading(requests.parent))
        unseen = require_unseen(requests, asked, known.about.samples)
        checkpoint = Checkpoint.open(checkpoints, base, Training(hidden_state, video_expansion, mode))
        model = CalibratedModel.open(checkpoint, layout)
        wanted = SearchConfig(scheme, max_flips, not no_smoothing, embeddings, vision)
        found = search(model, known, unseen, wanted, lambda text: _say(begin, text))
        write_config(found.config, out)
        (out / CHART).write_bytes(draw(found))
    click.echo(f"\n{table(found)}")
    click.echo(f"\nNext: yoj-export build ... --precision {scheme} --quantisation {out}")


def _say(begin: float, text: str) -> None:
    click.echo(f"[{time.perf_counter() - begin:6.1f} s] {text}", err=True)
