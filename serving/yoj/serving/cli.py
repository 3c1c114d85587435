"""``yoj-serve``: bundles behind interfaces that other programs call."""

from __future__ import annotations

import click

from yoj.runtime.version import __version__

from ._http_cli import http
from ._kserve_cli import kserve
from .native._cli import native
from .triton._cli import triton


@click.group()
@click.version_option(__version__, prog_name="yoj-serve")
def main() -> None:
    """Serve a bundle to other programs."""


for _command in (http, triton, kserve, native):
    main.add_command(_command)
