"""One file of JSON lines scored into another, to which results are appended as they come."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import click

from .._dump import Dump
from .._jsonl import Done, EarlierResults, FileScoring, comparable_runs
from .._results_file import open_results
from .._scorer import Scorer
from .._source import Source
from ..errors import RequestError
from ..lines import Numbered, read_lines
from ..manifest import EngineEntry, Manifest
from ._in_process import score_in_process
from ._pipeline import Pipeline, PipelineConfig
from ._progress import RunProgress
from ._rows import RowResult, ShardRow

if TYPE_CHECKING:  # few runs write a page
    from .._page import FilePage

FEW = 64
"""Most requests that are scored in this process: to start others takes longer."""

Score: TypeAlias = Callable[[Iterable[ShardRow]], Iterator[RowResult]]


@dataclass(frozen=True)
class FileJob:
    """Order to score one file."""

    requests: Path
    """File of JSON lines, ``-`` for standard input."""
    out: Path | None
    """File of the results; None for standard output."""
    settings: FileScoring
    source: Callable[[], Source]
    """Function that finds the bundle."""
    workers: int | None = None
    """Processes that run the engine; None for one, or none where there are few requests."""
    dump: Dump | None = None
    page: FilePage | None = None
    """Page of all lines, to be written at the end."""


@dataclass
class Summary:
    """Counts of a run."""

    scored: int = 0
    failed: int = 0
    resumed: int = 0
    """Lines that an earlier run had finished."""
    ranked: int = 0
    """Scored lines that have rankings."""
    right: int = 0
    """Scored lines with rankings whose best response is one of the best-ranked."""
    first_error: str = ""
    noticed: int = 0
    """Scored lines with notices."""
    first_notice: str = ""
    ignored: Counter[str] = field(default_factory=Counter[str])
    """Ignored field -> lines of this run that have it."""

    def count(self, done: Done) -> None:
        """Count a finished line."""
        if done.error is not None or done.best is None:
            self.failed += 1
            self.first_error = self.first_error or f"line {done.line}: {(done.error or {}).get('message', '')}"
            return
        self.scored += 1
        self.ranked += done.right is not None
        self.right += done.right is True
        if done.notices:
            self.noticed += 1
            self.first_notice = self.first_notice or f"line {done.line}: {done.notices[0]}"


def score_file(job: FileJob) -> bool:
    """Score every line of a file that has no result yet, and say on standard error what came of it.

    Returns:
        Whether every request has been scored.

    Raises:
        RequestError: results of other requests, another bundle or other settings are there, or the file cannot be read.
        YojError: the bundle cannot be loaded, or the settings do not go with it.
    """
    lines = _lines(job.requests)
    with open_results(job.requests, job.out) as (stream, earlier):
        if job.dump is not None and earlier.done:
            raise RequestError(
                f"An earlier run scored {len(earlier.done)} of the requests, which --dump-inputs cannot dump any more. "
                "Choose another file for the results."
            )
        finished = {done.line for done in earlier.done}
        waiting = [line for line in lines if line.number not in finished]
        seen: list[RowResult] = []
        with _scoring(job, len(waiting)) as (score, manifest, engine):
            check_same(lines, earlier.done, comparable_runs(manifest, engine, job.settings))
            begin = time.perf_counter()
            summary = Summary(resumed=len(earlier.done))
            for done in earlier.done:
                summary.count(done)
            progress = RunProgress(sys.stderr)
            progress.expect(str(job.requests), 0, len(lines))
            progress.found(len(earlier.done))
            try:
                for result in score(ShardRow(line.number, line.digest, line.text) for line in waiting):
                    if job.dump is not None:
                        job.dump.write(result.done.line)
                    _append(stream, result.text, job.out)
                    summary.count(result.done)
                    summary.ignored.update(result.ignored)
                    if job.page is not None:
                        seen.append(result)
                    progress.advance(result.done.error is not None)
            finally:
                progress.close()
    _report(summary, len(lines), time.perf_counter() - begin)
    if earlier.damaged:
        shown = ", ".join(map(str, earlier.damaged[:10]))
        click.echo(f"damaged lines of the results, whose requests were scored again: {shown}", err=True)
    if job.page is not None:
        _write_page(job.page, lines, earlier, seen, engine)
    return not summary.failed and summary.scored == len(lines)


def _write_page(
    page: FilePage, lines: Sequence[Numbered], earlier: EarlierResults, seen: Sequence[RowResult], engine: EngineEntry
) -> None:
    from .._page import fields_of

    fields = [fields_of(line) for line in earlier.text.splitlines()]
    fields += [fields_of(result.text, result.of_run) for result in seen]
    page.write(lines, {one["line"]: one for one in fields}, engine)


def check_same(lines: Sequence[Numbered], done: Sequence[Done], runs: Collection[str]) -> None:
    """Check that results are of these lines, and compare with those of a run.

    Args:
        lines: lines of the file of requests.
        done: results of an earlier run.
        runs: digests of runs whose results compare.

    Raises:
        RequestError: they are of other requests, another bundle or other settings.
    """
    requests = {line.number: line.digest for line in lines}
    wrong = next((entry.line for entry in done if requests.get(entry.line) != entry.request), None)
    if wrong is not None:
        raise RequestError(
            f"The results do not belong to these requests: line {wrong} is another request. Choose another file."
        )
    if any(entry.run not in runs for entry in done):
        raise RequestError(
            "The results come from another bundle, or from another mode, method, dimension, number of orders, "
            "overflow, rationale or placeholders setting; they would not compare. Choose another file for the results."
        )


def _append(stream: BinaryIO, text: bytes, out: Path | None) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:  # whoever reads has enough
        raise
    except OSError as error:
        raise RequestError(
            f"{out or 'Standard output'} cannot be written any more: {error.strerror or error}. The lines before stand "
            "there. Make room, then give the same command again."
        ) from error


def _lines(requests: Path) -> list[Numbered]:
    if str(requests) == "-":
        return read_lines(sys.stdin.buffer, "standard input")
    with requests.open("rb") as stream:
        return read_lines(stream, str(requests))


@contextmanager
def _scoring(job: FileJob, count: int) -> Generator[tuple[Score, Manifest, EngineEntry]]:
    """Open what scores so many rows, with the manifest of the bundle and the engine's entry in it."""
    settings, source = job.settings, job.source()
    if job.dump is None and (job.workers is not None or count > FEW):
        with Pipeline(source, settings, PipelineConfig(job.workers or 1)) as pipeline:
            yield pipeline.score_rows, pipeline.loaded.manifest, pipeline.loaded.engine
        return
    if job.dump is not None:
        settings = replace(settings, together=1)
        scorer = job.dump.load(source.path, engine=source.engine, threads=source.threads)
    else:
        scorer = Scorer.load(source.path, engine=source.engine, threads=source.threads)
    with scorer:
        yield lambda rows: score_in_process(scorer, rows, settings), scorer.manifest, scorer.engine


def _report(summary: Summary, total: int, seconds: float) -> None:
    fresh = summary.scored + summary.failed - summary.resumed
    text = f"{summary.scored} of {total} requests scored, {summary.failed} failed"
    text += f", {summary.resumed} of them in an earlier run" if summary.resumed else ""
    text += f"; {fresh / seconds:.1f} requests/s" if fresh else ""
    click.echo(text, err=True)
    if summary.ranked:
        share = summary.right / summary.ranked
        click.echo(f"best response right in {share:.1%} of {summary.ranked} requests with rankings", err=True)
    if summary.noticed:
        click.echo(f"{summary.noticed} requests with notices; the first: {summary.first_notice}", err=True)
    if summary.ignored:
        fields = ", ".join(f"{name!r} in {count} lines" for name, count in summary.ignored.most_common())
        click.echo(f"fields that were passed over: {fields}", err=True)
    if summary.failed:
        click.echo(f"first error: {summary.first_error}", err=True)
