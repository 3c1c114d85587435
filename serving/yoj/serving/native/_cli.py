"""``yoj-serve native``: the C interface as a library and its headers."""

from __future__ import annotations

from pathlib import Path

import click

from yoj.runtime.options import readable_errors


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the library and headers."
)
def native(out: Path) -> None:
    """Build libyoj, with which C, C++, Rust and others score in their own process.

    \b
    Example:
      yoj-serve native --out libyoj/
      cc judge.c $(PKG_CONFIG_PATH=$PWD/libyoj pkg-config --cflags --libs libyoj) -o judge

    Writes libyoj.so, yoj.h, yoj.hpp (C++17) and libyoj.pc. Needs pip install 'yoj[native]', a C compiler, and Python's
    headers and shared library. The library uses the environment of this command, wherever it is called from; the
    variable YOJ_PYTHON of the host names the interpreter of another.
    """
    from ._build import build

    with readable_errors():
        for file in build(out):
            click.echo(file)
