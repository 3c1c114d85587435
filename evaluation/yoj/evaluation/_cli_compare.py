"""``yoj-eval compare``."""

from __future__ import annotations

from pathlib import Path

import click

from yoj.runtime.options import readable_errors

EPILOG = """\b
Examples:
  yoj-eval compare runs/float32 runs/int8
  yoj-eval compare runs/bundle runs/served --json comparison.json

\b
Differences are the second less the first. Intervals are of 1,000 resamples of
the same groups of both; one that holds 0 shows no difference. The test of
McNemar counts the items where one of the two alone is right.
"""


@click.command(epilog=EPILOG)
@click.argument("first", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("second", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the comparison here too.")
def compare(first: Path, second: Path, file: Path | None) -> None:
    """Compare two runs of one benchmark, folders that yoj-eval run wrote, on the same items."""
    with readable_errors():
        import msgspec

        from ._comparison import compare as compared
        from ._comparison import comparison_table, open_run

        found = compared(open_run(first), open_run(second))
        if file is not None:
            file.write_bytes(msgspec.json.format(msgspec.json.encode(found.to_dict()), indent=1) + b"\n")
    click.echo(comparison_table(found).text())
