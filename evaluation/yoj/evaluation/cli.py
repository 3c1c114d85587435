"""``yoj-eval``: benchmarks and rankings."""

from __future__ import annotations

import click

from yoj.runtime.version import __version__

from ._cli_compare import compare
from ._cli_rankings import items, rankings
from ._cli_run import list_benchmarks, run

EPILOG = """\b
Examples:
  yoj-eval list
  yoj-eval run vl-rewardbench MMInstruction/VL-RewardBench@main \\
      --bundle judge.yoj --out runs/judge
  yoj-eval compare runs/judge runs/other
  yoj-eval rankings votes.jsonl --out rankings.jsonl

\b
Each command says more with --help.
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(__version__, prog_name="yoj-eval")
def main() -> None:
    """Measure how good a judge is."""


for command in (list_benchmarks, run, compare, rankings, items):
    main.add_command(command)

if __name__ == "__main__":
    main()
