"""Pages of one request, and of a file of requests with their results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import msgspec

from .._jsonl import FileScoring
from .._scorer import Scorer
from .._source import Source
from ..bulk._progress import RunProgress
from ..codec import decode_judgement
from ..errors import YojError
from ..lines import Entry, Numbered, read_entry
from ..manifest import EngineEntry
from ..request import Request
from ._document import Heading, told_bytes, write_page
from ._item import PageItem


def write_one(file: Path, scorer: Scorer, judge: str, one: PageItem) -> None:
    """Write the page of one request, and say so on standard error.

    Args:
        file: file to write.
        scorer: scorer that judged it.
        judge: name of the bundle.
        one: the request and what came of it.

    Raises:
        RequestError: see `yoj.runtime._page.check_place`.
    """
    facts = [_engine(scorer.engine)]
    _say(file, 1, write_page(file, Heading(_name(judge), facts, 1, explained=one.explanation is not None), [one]))


@dataclass(frozen=True)
class FilePage:
    """Order to write the page of a file."""

    file: Path
    """File to write."""
    judge: str
    """Name of the bundle."""
    settings: FileScoring
    explain: bool
    """Whether each judgement is explained."""
    source: Callable[[], Source]
    """Function that finds the bundle, for explanations."""

    def write(self, lines: Sequence[Numbered], results: Mapping[int, Mapping[str, Any]], engine: EngineEntry) -> None:
        """Write the page of all lines, and say so on standard error.

        Args:
            lines: lines of the file.
            results: fields of the result of each line, by its number; of those of this run ``timings_ms`` too.
            engine: engine that scored them.

        Raises:
            RequestError: see `yoj.runtime._page.check_place`.
            YojError: the bundle cannot be loaded.
        """
        failed = [line.number for line in lines if "error" in results.get(line.number, {"error": {}})]
        facts = [f"{len(lines) - len(failed):,} of {len(lines):,} requests scored", _engine(engine)]
        if rights := [bool(of["right"]) for of in results.values() if of.get("right") is not None]:
            facts.append(f"best response right in {sum(rights) / len(rights):.1%} of {len(rights):,} with rankings")
        heading = Heading(_name(self.judge), facts, len(lines), failed, self.explain)
        _say(self.file, len(lines), write_page(self.file, heading, self._items(lines, results)))

    def _items(self, lines: Sequence[Numbered], results: Mapping[int, Mapping[str, Any]]) -> Iterator[PageItem]:
        if not self.explain:
            yield from (self._item(line, results) for line in lines)
            return
        click.echo(f"explaining {len(lines):,} requests", err=True)
        progress = RunProgress(sys.stderr)
        progress.expect(str(self.file), 0, len(lines))
        source = self.source()
        with Scorer.load(source.path, engine=source.engine, threads=source.threads) as scorer:
            for line in lines:
                yield (one := self._explained(scorer, self._item(line, results)))
                progress.advance(one.judgement is None or one.unexplained is not None)
        progress.close()

    def _item(self, line: Numbered, results: Mapping[int, Mapping[str, Any]]) -> PageItem:
        entry = read_entry(line, self.settings.reading)
        shown = _shown(entry, line)
        fields = results.get(line.number)
        if fields is None:
            return replace(shown, error="This line has no result.")
        if (error := fields.get("error")) is not None:
            return replace(shown, error=str(error.get("message", "")))
        judgement = decode_judgement(fields)
        return replace(
            shown,
            judgement=judgement,
            rationales=fields.get("rationales", ()),
            earlier=not judgement.timings_ms,
        )

    def _explained(self, scorer: Scorer, one: PageItem) -> PageItem:
        if one.judgement is None or one.request is None:
            return one
        try:
            explanation = scorer.explain(one.request, mode=self.settings.mode, orders=self.settings.orders)
        except YojError as error:
            return replace(one, unexplained=str(error))
        return replace(one, explanation=explanation)


def fields_of(text: bytes, of_run: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Fields of a line of results, with those that belong to a run."""
    return msgspec.json.decode(text, type=dict[str, Any]) | dict(of_run or {})


def _shown(entry: Entry, line: Numbered) -> PageItem:
    request = entry.request if isinstance(entry.request, Request) else None
    text = line.text.decode("utf-8", "replace") if request is None else None
    return PageItem(entry.number, request, line=text, rankings=entry.rankings, id=entry.id, metadata=entry.metadata)


def _name(judge: str) -> str:
    return Path(judge).name or judge


def _engine(engine: EngineEntry) -> str:
    return f"{engine.engine}, {engine.precision}"


def _say(file: Path, requests: int, size: int) -> None:
    many = "1 request" if requests == 1 else f"{requests:,} requests"
    click.echo(f"page of {many} written: {file}, {told_bytes(size)}", err=True)
