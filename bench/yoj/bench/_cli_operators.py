"""``yoj-bench products`` and ``pieces``: single operators of a graph, in CPU time on one core."""

from __future__ import annotations

from pathlib import Path

import click

from yoj.export.options import prepare_libraries
from yoj.runtime.options import readable_errors

from ._options import out_option, repeats_option
from ._records import write_figures


@click.command()
@click.option("--width", "widths", multiple=True, default=(640, 2560), show_default=True, type=click.IntRange(min=1),
              help="Hidden size; may be repeated.")  # fmt: skip
@repeats_option(3)
@out_option
def products(widths: tuple[int, ...], repeats: int, out: Path | None) -> None:
    """Measure the matrix products of an MLP in each scheme: CPU time, and the difference from float32."""
    prepare_libraries()
    from ._products import measure_widths, table

    with readable_errors():
        found = measure_widths(widths, repeats)
        for width, of in found["widths"].items():
            click.echo(f"D = {width}\n{table(of)}")
        write_figures(out, found, found["environment"])


@click.command()
@click.option("--width", default=2432, show_default=True, type=click.IntRange(min=1),
              help="Width of the rows that are scaled.")  # fmt: skip
@repeats_option(9)
@out_option
def pieces(width: int, repeats: int, out: Path | None) -> None:
    """Measure the operators around the products of an 8-bit trunk: scaling of rows, attention in blocks; CPU time."""
    prepare_libraries()
    from ._pieces import measure

    with readable_errors():
        found = measure(width, repeats)
        for name, milliseconds in found["cpu_ms"].items():
            click.echo(f"{name:40}{milliseconds:9.2f} ms")
        write_figures(out, found, found["environment"])
