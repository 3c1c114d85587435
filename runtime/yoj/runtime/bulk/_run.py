"""Runs of ``yoj-score`` over shards: what is left to do, and what goes on where a shard is at fault."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import msgspec

from .._file_options import FileOptions
from .._jsonl import FileScoring, comparable_runs
from .._source import Source
from ..codec import Ignore, Line, Reading
from ..errors import RequestError, YojError
from ..manifest import Mode
from ._columns import ResultColumns
from ._fingerprint import is_same
from ._job import OpenShard, ShardJob, find_tables, finish_shard, open_shard
from ._pipeline import Pipeline, PipelineConfig
from ._place import Place, make_place
from ._progress import RunProgress
from ._reading import Names
from ._report import report
from ._rows import ShardRow
from ._run_manifest import (
    FORMAT,
    RunManifest,
    ShardState,
    about_machine,
    check_same_run,
    read_manifest,
    write_manifest,
)
from ._selection import RowSelection
from ._shards import FoundShards, Shard, ShardError, find_shards

SAVE_S = 1.0
"""Seconds after which the manifest is written again: with thousands of small shards, it is most of the work."""
OPEN_SHARDS = 32
"""Shards after which the rows of those before are scored first, so that the number of open files is bounded."""


@dataclass(frozen=True)
class Bulk:
    """Order to score shards."""

    bundle: str
    inputs: Sequence[str]
    out: str | None
    options: FileOptions
    settings: Callable[[Path], FileScoring]
    """Settings of the shards in a folder."""
    workers: int = 1
    """Processes that run the engine."""


def score_shards(source: Callable[[], Source], bulk: Bulk) -> bool:
    """Score the rows of shards, and write a shard of results for each.

    Args:
        source: function that finds the bundle.
        bulk: inputs, place of the results, and settings.

    Returns:
        Whether every row of this part has been scored.

    Raises:
        click.UsageError: the inputs, the options, or the places of the results are wrong.
        RequestError: results of other settings are there, another process writes there, or the disk is full.
        YojError: the bundle cannot be loaded.
    """
    results = _results(bulk)
    try:
        found = find_shards(bulk.inputs)
        place = make_place(bulk.out, bulk.inputs, found, bulk.options)
    except RequestError as error:
        raise click.UsageError(str(error)) from error
    config = PipelineConfig(bulk.workers)
    with place.locked(), Pipeline(source(), bulk.settings(Path()), config) as pipeline:
        job, manifest = _prepare(pipeline, bulk, (found, place), results)
        run = _Run(job, manifest, found, pipeline)
        try:
            run.score()
        except KeyboardInterrupt:
            job.progress.close()
            click.echo(f"Interrupted. {run.kept()} Give the same command again to go on.", err=True)
            raise
        except OSError as error:
            if isinstance(error, YojError):
                raise
            job.progress.close()
            raise RequestError(
                f"Results cannot be written any more: {error}. {run.kept()} Make room, then give the same command "
                "again."
            ) from error
        finally:
            run.close()
            job.progress.close()
        return report(run.own_states(), run.problems, found, job, pipeline.usage.restarts)


def _results(bulk: Bulk) -> ResultColumns:
    options, settings = bulk.options, bulk.settings(Path())
    if settings.knockout and (options.top is not None or options.min_margin is not None):
        raise click.UsageError("--top and --min-margin need scores, which --n-method knockout does not give.")
    if settings.rationale is not None and (options.best or options.top is not None):
        raise click.UsageError(
            "--best and --top write no rationales. Leave --rationale out, or write whole judgements."
        )
    selection = RowSelection(options.best, options.top, options.min_margin)
    return ResultColumns(selection, settings.knockout, settings.rationale is not None)


def _prepare(
    pipeline: Pipeline, bulk: Bulk, of: tuple[FoundShards, Place], results: ResultColumns
) -> tuple[ShardJob, RunManifest]:
    """Prepare a run, and check that earlier results in its place compare with those that it will give."""
    (found, place), options, given = of, bulk.options, bulk.settings(Path())
    loaded, ignore = pipeline.loaded, given.reading.ignore
    names = Names(dict(options.rename), ignore)
    runs = comparable_runs(loaded.manifest, loaded.engine, given)
    index, count = options.part or (1, 1)
    manifest = RunManifest(
        FORMAT,
        bulk.bundle,
        loaded.manifest.digest,
        loaded.engine.engine,
        loaded.engine.precision,
        loaded.run,
        _settings_of(options, ignore),
        _scoring_of(given, loaded.manifest.trained_mode),
        [*bulk.inputs],
        f"{index}/{count}",
        **about_machine(),
    )
    own = {shard.name for shard in found.shards[index - 1 :: count]}
    for file in place.manifests():
        earlier = read_manifest(file)
        counted = {name for name, state in earlier.shards.items() if state.state != "waiting"}
        uncounted = any(place.journal(one).exists() for one in found.shards if one.name not in counted)
        if uncounted or any(state.has_results for state in earlier.shards.values()):
            check_same_run(file, earlier, manifest, runs)
        mine = file == place.manifest
        manifest.shards |= {name: state for name, state in earlier.shards.items() if mine or name in own}

    def reading(folder: Path) -> Reading:
        return replace(bulk.settings(folder).reading, ignore=_allowing(options, ignore))

    tables = find_tables(found.shards, place, names, results)
    progress = RunProgress(sys.stderr, lambda: pipeline.usage.busy)
    return ShardJob(reading, place, names, results, tables, runs, progress), manifest


def _settings_of(options: FileOptions, ignore: Ignore) -> dict[str, Any]:
    """Settings of files that results depend on, as JSON holds them."""
    given = {name: value for name, value in asdict(options).items() if name != "part"}
    given |= {"ignore_fields": sorted(ignore.fields), "ignore_unknown": ignore.unknown}
    return msgspec.json.decode(msgspec.json.encode(given))  # with the lists that a manifest has for tuples


def _scoring_of(given: FileScoring, trained: Mode) -> dict[str, Any]:
    """Settings that scores depend on, as `run_digest` has them."""
    reading = given.reading
    return {
        "mode": given.mode or trained,
        "orders": given.orders,
        "method": "knockout" if given.knockout else reading.method,
        "passes": reading.passes,
        "dimension": reading.dimension,
        "overflow": reading.overflow,
        "placeholders": reading.placeholders,
        "rationale": given.rationale,
    }


def _allowing(options: FileOptions, ignore: Ignore) -> Ignore:
    """Ignored fields of JSON lines: what is kept is no unknown field."""
    others = {*options.keep} - {*Line.__struct_fields__, "messages"}
    return Ignore(ignore.fields | others, ignore.unknown or "all" in options.keep)


class _Run:
    """One start of a run."""

    def __init__(self, job: ShardJob, manifest: RunManifest, found: FoundShards, pipeline: Pipeline):
        self._pipeline, self._usage = pipeline, pipeline.usage
        self._saved = 0.0
        """Time at which the manifest was written."""
        self._journals: list[Path] = []
        """Journals that are removed when the manifest knows their shards to be done."""
        self._open = deque[OpenShard]()
        """Shards whose results are not all there, in their order."""
        self._job, self._place, self._manifest = job, job.place, manifest
        index, count = self._place.options.part or (1, 1)
        self._own = found.shards[index - 1 :: count]
        self.problems: dict[str, str] = {}
        """Shard -> what is wrong with it."""

    def score(self) -> None:
        """Score all shards of this part that can be.

        Raises:
            OSError: results cannot be written.
        """
        self._save()
        for shard in self._own:
            state = self._state(shard)
            size = shard.path.stat().st_size if shard.path.exists() else 0
            self._job.progress.expect(shard.name, size, state.rows)
        for result in self._pipeline.score_rows(self._rows()):
            self._open[0].take(result, self._job)
            self._finish()
        self._finish()
        self._save()

    def close(self) -> None:
        """Close what is open."""
        for opened in self._open:
            opened.journal.close()

    def _rows(self) -> Iterator[ShardRow | None]:
        """Rows of all shards that are to be scored; None after so many shards, of which the rows before are done first.

        The next shards are read while this one is scored, so that the engine never waits for a shard to end.
        """
        begun = 0
        for shard in self._own:
            if (opened := self._begin(shard)) is None:
                continue
            self._open.append(opened)
            yield from opened.waiting(self._job)
            self._finish()
            begun += 1
            if begun % OPEN_SHARDS == 0:
                yield None

    def _begin(self, shard: Shard) -> OpenShard | None:
        """Open a shard; None where nothing is left to do, or it cannot be read."""
        before = self._state(shard)
        state = msgspec.structs.replace(before, state="waiting", reason="")
        try:
            if self._is_finished(shard, before):
                self._job.progress.found(before.rows or 0)
                self._manifest.shards[shard.name] = msgspec.structs.replace(before, state="done", reason="")
                return None
            opened = open_shard(self._job, shard, state)
            if before.output_size:  # its results are written again; a kill then must not leave others than are known
                self._manifest.shards[shard.name] = msgspec.structs.replace(before, state="waiting", output_size=0)
                self._save()
            return opened
        except ShardError as error:
            self._leave_out(shard, state, error)
            return None

    def _finish(self) -> None:
        """Write the results of shards whose rows all have one."""
        while self._open and self._open[0].complete:
            opened = self._open.popleft()
            shard, state = opened.shard, opened.state
            try:
                finish_shard(self._job, opened)
                self._manifest.shards[shard.name] = state
                if not state.failed:  # else its other rows are taken from it when the failed ones are tried again
                    self._journals.append(opened.journal.file)
                if time.monotonic() - self._saved > SAVE_S:
                    self._save()
            except ShardError as error:
                self._leave_out(shard, state, error)

    def _leave_out(self, shard: Shard, state: ShardState, error: ShardError) -> None:
        reason = self.problems[shard.name] = str(error).rstrip(".")
        click.echo(f"{shard.name} is left out, and the run goes on: {reason}.", err=True)
        state.state, state.reason = "failed", reason
        self._manifest.shards[shard.name] = state
        self._save()

    def own_states(self) -> dict[str, ShardState]:
        """States of the shards of this part."""
        return {shard.name: self._state(shard) for shard in self._own}

    def kept(self) -> str:
        """Text about what is kept of a run that stops."""
        states = self.own_states()
        left = [name for name, state in states.items() if state.state != "done" and name not in self.problems]
        with suppress(OSError):
            self._save()
        return (
            f"What was done is kept: of this start {self._job.progress.text()}. Shards without their results: "
            f"{len(left)} of {len(states)}, the first {left[0] if left else 'none'}."
        )

    def _state(self, shard: Shard) -> ShardState:
        return self._manifest.shards.get(shard.name) or ShardState(self._place.output(shard))

    def _save(self) -> None:
        """Write the manifest, and remove the journals of shards that it knows to be done."""
        self._manifest.usage = {
            "rows": self._usage.rows,
            "seconds": round(self._job.progress.seconds, 3),
            "scoring_seconds": round(self._usage.seconds, 3),
            "engine_seconds": round(self._usage.engine_seconds, 3),
            "workers": self._usage.workers,
            "tokens": self._usage.tokens,
            "restarts": self._usage.restarts,
        }
        write_manifest(self._place.manifest, self._manifest)
        self._saved = time.monotonic()
        while self._journals:
            self._journals.pop().unlink(missing_ok=True)

    def _is_finished(self, shard: Shard, state: ShardState) -> bool:
        """Whether nothing is left to do of a shard.

        Raises:
            ShardError: its results are not those of this run, or no longer those of its file.
        """
        output, journal = self._place.folder / state.output, self._place.journal(shard)
        if state.state != "done" and not (state.state == "failed" and state.output_size):
            if output.exists() and not journal.exists():
                raise ShardError(
                    f"{output} is there, and no run of this folder has written it. Move it away, or choose another "
                    "folder for the results"
                )
            return False
        if not output.exists():
            click.echo(f"{output} is gone, so that it is made again.", err=True)
            return False
        if state.source is None or not is_same(shard.path, state.source):
            raise ShardError(
                f"its file is another one than that whose results are in {output}. Remove these to have it scored, or "
                "choose another folder for the results"
            )
        if output.stat().st_size != state.output_size:
            raise ShardError(f"{output} was changed since it was written. Move it away to have it written again")
        if state.failed:
            if not journal.exists():
                click.echo(f"{journal} is gone, so that all rows of {shard.name} are scored again.", err=True)
            return False
        journal.unlink(missing_ok=True)  # where the run was killed before it could
        return True
