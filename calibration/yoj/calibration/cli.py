"""``yoj-calibrate``: fit what a bundle needs beside its weights, on samples."""

from __future__ import annotations

import click

from .cli_probabilities import probabilities


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Fit what a bundle needs beside its weights, on samples."""


main.add_command(probabilities)

if __name__ == "__main__":
    main()
