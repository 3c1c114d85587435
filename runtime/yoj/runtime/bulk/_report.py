"""Report of a run, on standard error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import click

from ..error_texts import shorten
from ._job import ShardJob
from ._run_manifest import ShardState
from ._shards import FoundShards


def report(
    states: Mapping[str, ShardState], problems: Mapping[str, str], found: FoundShards, job: ShardJob, restarts: int
) -> bool:
    """Say what became of the shards of a run.

    Args:
        states: states of the shards of this part, by name.
        problems: shards with what is wrong with them.
        found: files of the inputs.
        job: the run.
        restarts: number of processes that ended and were replaced.

    Returns:
        Whether every row has been scored.
    """
    for line in _lines(states, problems, found, job, restarts):
        click.echo(line, err=True)
    return not problems and not any(state.failed for state in states.values())


def _lines(
    states: Mapping[str, ShardState], problems: Mapping[str, str], found: FoundShards, job: ShardJob, restarts: int
) -> Iterable[str]:
    done = {name: state for name, state in states.items() if state.state == "done"}
    rows, scored, failed, left_out = (
        sum(getattr(state, of) or 0 for state in done.values()) for of in ("rows", "scored", "failed", "left_out")
    )
    text = f"{scored:,} of {rows:,} rows scored, {failed:,} failed"
    text += f", {left_out:,} left out" if job.results.selection.min_margin is not None else ""
    text += f"; results of {len(done)} of {len(states)} shards in {job.place.folder}"
    fresh = job.progress.fresh
    text += f"; {fresh:,} rows now, {fresh / max(job.progress.seconds, 1e-9):,.1f} rows/s" if fresh else ""
    yield text
    if ranked := sum(state.ranked for state in done.values()):
        right = sum(state.right for state in done.values())
        yield f"best response right in {right / ranked:.1%} of {ranked:,} rows with rankings"
    if restarts:
        yield f"processes that ended and were replaced, for want of memory perhaps: {restarts} (see the log of yoj)"
    for name, reason in problems.items():
        missing = states[name].rows
        yield f"missing: {f'{missing:,}' if missing else 'all'} rows of {name}: {reason}."
    for kind, number in (("error", "failed"), ("notice", "noticed")):
        first = next(((name, state) for name, state in done.items() if getattr(state, number)), None)
        if first is not None:
            count = sum(getattr(state, number) for state in done.values())
            yield f"{count:,} rows with {kind}s; the first: {first[0]}, {getattr(first[1], f'first_{kind}')}"
    columns = dict.fromkeys(name for state in done.values() for name in state.not_read)
    if columns:
        yield f"columns that are no part of a request, and were not read: {shorten(', '.join(columns), 400)}"
    if damaged := sum(state.damaged for state in done.values()):
        yield f"damaged lines of journals, whose rows were scored again: {damaged:,}"
    if found.passed_over:
        yield (
            f"passed over, as no shards by their names or as links to folders: {len(found.passed_over)}, the first "
            f"{found.passed_over[0]}"
        )
    yield f"manifest: {job.place.manifest}"
