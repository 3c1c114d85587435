"""Bundles that a command takes by name, as ``NAME=PATH``."""

from __future__ import annotations

from pathlib import Path

import click


def named_bundles(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Path]:
    """Paths by name; a callback of click.

    Raises:
        click.BadParameter: an argument has no name or no path, or two have one name.
    """
    pairs = [text.partition("=") for text in given]
    if wrong := [text for text, (name, _, path) in zip(given, pairs, strict=True) if not name or not path]:
        raise click.BadParameter(f"{', '.join(wrong)}: give NAME=PATH of a bundle.")
    named = {name: Path(path) for name, _, path in pairs}
    if len(named) < len(pairs):
        raise click.BadParameter("two judges have one name; give each its own.")
    return named
