"""``yoj-score``: score the responses given on the command line, or every line of a file."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import cast

import click

from .errors import YojError
from .jsonl import Summary, previous_results, score_file
from .request import Overflow
from .scorer import Scorer

EPILOG = """\b
Examples:
  yoj-score judge.yoj --image photo.jpg --prompt "What is shown?" \\
      --response "A cat." --response "A red bus."
  yoj-score judge.yoj requests.jsonl --out scores.jsonl

\b
A line of requests.jsonl:
  {"prompt": "What is shown?", "image": "photo.jpg",
   "responses": ["A cat.", "A red bus."], "rankings": [2, 1]}
image (one path or a list, relative to the file) and rankings (1 = best) may be
left out. A line of scores.jsonl has the scores, or the error, of one request.
"""


@contextmanager
def readable_errors() -> Generator[None]:
    """Show what yoj raises on purpose as a message, not as a traceback."""
    try:
        yield
    except YojError as error:
        raise click.ClickException(str(error)) from error


@click.command(epilog=EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("requests", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--prompt", help="The question.")
@click.option("--response", "responses", multiple=True, help="A candidate answer; give the option once for each.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(path_type=Path),
    help="An image that the prompt is about; may be repeated.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the results of REQUESTS here, and go on where an earlier run stopped. "
    "Without it they go to standard output.",
)
@click.option(
    "--overflow",
    type=click.Choice(["error", "truncate"]),
    default="error",
    show_default=True,
    help="A pack over the length limit: refuse it, or cut the longest responses and say so.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of one run.  [default: all cores]")
@click.option("--json", "as_json", is_flag=True, help="Print the judgement of one request as JSON.")
@click.version_option(version("yoj"), prog_name="yoj-score")
def main(
    bundle: Path,
    requests: Path | None,
    prompt: str | None,
    responses: tuple[str, ...],
    images: tuple[Path, ...],
    out: Path | None,
    overflow: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Score N responses to a prompt, in one forward pass of the model in BUNDLE.

    Either give one request with --prompt and --response, or a file of REQUESTS in JSON lines.
    """
    if requests is not None and (prompt is not None or responses or images or as_json):
        raise click.UsageError("Give a file of requests, or --prompt and --response with --image, not both.")
    if requests is None and (prompt is None or not responses):
        raise click.UsageError("Give --prompt and at least one --response, or a file of requests.")
    if requests is None and out is not None:
        raise click.UsageError("--out is for a file of requests.")
    with readable_errors():
        scorer = Scorer.load(bundle, threads=threads)
        policy = cast(Overflow, overflow)
        if requests is not None:
            _score_file(scorer, requests, out, policy)
            return
        judgement = scorer.score(cast(str, prompt), responses, images=images, overflow=policy)
    if as_json:
        click.echo(json.dumps(judgement.to_dict()))
        return
    phases = ", ".join(f"{name} {value:.1f} ms" for name, value in judgement.timings_ms.items() if name != "batch")
    click.echo(f"{judgement.table(responses)}\n{phases}")


def _score_file(scorer: Scorer, requests: Path, out: Path | None, overflow: Overflow) -> None:
    total = sum(1 for line in requests.read_bytes().splitlines() if line.strip())
    begin = time.perf_counter()
    file = out or _redirected_output()
    previous = previous_results(file) if file else b""
    with (
        file.open("ab") if file else nullcontext(sys.stdout.buffer) as results,
        click.progressbar(length=total, label="scoring", file=sys.stderr) as bar,
    ):

        def write(lines: bytes) -> None:
            results.write(lines)
            results.flush()

        summary = score_file(scorer, requests, previous, write, overflow, bar.update)
    _report(summary, total, time.perf_counter() - begin)
    if summary.failed:
        sys.exit(1)


def _redirected_output() -> Path | None:
    """The file that standard output goes to, so that ``>>`` goes on where an earlier run stopped."""
    if not stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode):
        return None
    try:
        with (path := Path("/dev/stdout")).open("a+b"):
            return path
    except OSError:  # a system on which an open file has no path of its own: results are written, but not resumed
        return None


def _report(summary: Summary, total: int, seconds: float) -> None:
    fresh = summary.scored + summary.failed - summary.resumed
    text = f"{summary.scored} of {total} requests scored, {summary.failed} failed"
    text += f", {summary.resumed} of them in an earlier run" if summary.resumed else ""
    text += f"; {fresh / seconds:.1f} requests/s" if fresh else ""
    click.echo(text, err=True)
    if summary.ranked:
        share = summary.right / summary.ranked
        click.echo(f"best response right in {share:.1%} of {summary.ranked} requests with rankings", err=True)
    if summary.failed:
        click.echo(f"first error: {summary.first_error}", err=True)
