"""``yoj-bench large-checkpoint``, ``export-large`` and ``vision-cost``: models in the dimensions of 4B backbones."""

from __future__ import annotations

import json
from pathlib import Path

import click

from yoj.export.options import prepare_libraries
from yoj.runtime.options import readable_errors

from ._options import FOLDER, READABLE, added_out_option, repeats_option
from ._records import write_figures
from ._shapes import LAYERS, WORDS


@click.command()
@click.argument("like", type=FOLDER)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--layers", default=LAYERS, show_default=True, type=click.IntRange(min=2),
              help="Layers of the trunk, and at most of the vision tower.")  # fmt: skip
@click.option("--words", default=WORDS, show_default=True, type=click.IntRange(min=1), help="Rows of embeddings.")
def large_checkpoint(like: Path, folder: Path, layers: int, words: int) -> None:
    """Write a 4B model with random weights to FOLDER: an adapter, and its base in FOLDER/base.

    Tokenizer, template and processor files are those of the small judge LIKE.
    """
    prepare_libraries()
    from ._large_checkpoint import write

    if folder.exists():
        raise click.UsageError(f"{folder} exists. Choose another FOLDER, or remove it.")
    with readable_errors():
        write(like, folder, layers, words)
    click.echo(folder)


@click.command()
@click.argument("checkpoint", type=FOLDER)
@click.option("--image", required=True, type=READABLE, help="A picture that the question is about.")
@click.option("--precision", default="float16", show_default=True,
              help="Precision of the bundle; in a quantised one, all matrices and rows are.")  # fmt: skip
@added_out_option
def export_large(checkpoint: Path, image: Path, precision: str, out: Path | None) -> None:
    """Export CHECKPOINT, of yoj-bench large-checkpoint, beside itself, and score an image with 4 responses.

    The result holds seconds, memory and disk.
    """
    prepare_libraries()
    from ._export_large import measure

    with readable_errors():
        figures = measure(checkpoint, image, precision)
        click.echo(json.dumps(figures, indent=1))
        name = checkpoint.name if precision == "float16" else f"{checkpoint.name} {precision}"
        write_figures(out, figures, figures["environment"], name)


@click.command()
@click.argument("judge", type=FOLDER)
@click.option("--side", default=768, show_default=True, type=click.IntRange(min=28),
              help="Side of the square image, in pixels.")  # fmt: skip
@click.option("--scheme", "schemes", multiple=True, default=["int8"], show_default=True,
              help="Scheme of all matrices that may be quantised; may be repeated.")  # fmt: skip
@click.option("--layers", default=LAYERS, show_default=True, type=click.IntRange(min=2),
              help="Layers of the tower at most; mergers weigh more behind few layers than behind all.")  # fmt: skip
@repeats_option(3)
@added_out_option
def vision_cost(judge: Path, side: int, schemes: tuple[str, ...], layers: int, repeats: int, out: Path | None) -> None:
    """Measure the vision tower of the 4B model that JUDGE is a small one of: CPU seconds of one image on one core."""
    prepare_libraries()
    from ._vision_cost import measure

    with readable_errors():
        figures = measure(judge, side, schemes, layers, repeats)
        click.echo(json.dumps(figures, indent=1))
        write_figures(out, figures, figures["environment"], f"{judge.name} {side}")
