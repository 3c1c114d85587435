"""``yoj-eval``: benchmarks and rankings."""

from __future__ import annotations

import click

from yoj.runtime.version import __version__

from ._cli_rankings import items, rankings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="yoj-eval")
def main() -> None:
    """Measure how good a judge is."""


main.add_command(rankings)
main.add_command(items)

if __name__ == "__main__":
    main()
