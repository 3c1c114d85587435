"""Files of requests, one JSON object a line, scored into files of judgements, one line for each.

A line of the result names the request's line and hash, so that an interrupted run goes on where it stopped and never
mixes the results of two files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from .errors import RequestError, YojError
from .judgement import Judgement
from .request import Overflow, Request
from .scorer import Scorer

CHUNK = 16
"""Requests that are scored together and written before the next are read."""


class Line(msgspec.Struct):
    """One line of requests, in the fields of the reference's training data; other fields are ignored."""

    prompt: str
    responses: list[str]
    image: str | list[str] | None = None
    """Path, or paths, relative to the folder of the file."""
    video: str | list[str] | None = None
    rankings: list[float] | None = None
    """[N] 1 = best, ties allowed; compared with the scores in the summary."""


class _Done(msgspec.Struct):
    line: int
    request: str
    best: int | None = None
    error: dict[str, str] | None = None


@dataclass
class Summary:
    """What a run did."""

    scored: int = 0
    failed: int = 0
    resumed: int = 0
    """Lines that an earlier run had finished."""
    ranked: int = 0
    """Scored lines that came with rankings."""
    right: int = 0
    """Of those, lines whose best response is one of the best-ranked."""
    first_error: str = ""


@dataclass(frozen=True)
class _Numbered:
    number: int
    text: bytes
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.text).hexdigest()[:16])


def previous_results(file: Path) -> bytes:
    """The whole lines that an earlier run wrote; a half-written last line is removed from the file."""
    with file.open("a+b") as stream:
        stream.seek(0)
        text = stream.read()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            stream.truncate(len(whole))
    return whole


def score_file(
    scorer: Scorer,
    requests: Path,
    previous: bytes,
    write: Callable[[bytes], None],
    overflow: Overflow,
    advance: Callable[[int], None],
) -> Summary:
    """Score every line of a file that has no result yet.

    Args:
        scorer: loaded.
        requests: JSON lines; blank lines are passed over.
        previous: results of an earlier run, which are not computed again.
        write: called with the results of some lines, each ending in a newline.
        overflow: see `Request`.
        advance: called with the number of lines finished.

    Raises:
        RequestError: ``previous`` holds results of other requests.
    """
    lines = [_Numbered(n, text) for n, text in enumerate(requests.read_bytes().splitlines(), 1) if text.strip()]
    done = _read_done(previous, requests)
    summary = Summary()
    wrong = [line.number for line in lines if line.number in done and done[line.number].request != line.digest]
    if wrong or done.keys() - {line.number for line in lines}:
        at = f"line {wrong[0]} is another request" if wrong else "it has more lines"
        raise RequestError(f"The results do not belong to {requests}: {at}. Choose another file for the results.")
    for line in lines:
        if line.number in done:
            summary.resumed += 1
            _count(summary, line, done[line.number].best, done[line.number].error)
    advance(summary.resumed)
    waiting = [line for line in lines if line.number not in done]
    for chunk in (waiting[start : start + CHUNK] for start in range(0, len(waiting), CHUNK)):
        results = list(_score_chunk(scorer, chunk, requests.parent, overflow))
        write(b"".join(msgspec.json.encode(_result(*pair)) + b"\n" for pair in zip(chunk, results, strict=True)))
        for line, result in zip(chunk, results, strict=True):
            if isinstance(result, YojError):
                _count(summary, line, None, {"message": str(result)})
            else:
                _count(summary, line, result.best, None)
        advance(len(chunk))
    return summary


def _score_chunk(
    scorer: Scorer, chunk: Iterable[_Numbered], folder: Path, overflow: Overflow
) -> Iterator[Judgement | YojError]:
    parsed = [_parse(line, folder, overflow) for line in chunk]
    good = [request for request in parsed if isinstance(request, Request)]
    judgements = iter(scorer.score_batch(good, on_error="return"))
    for request in parsed:
        yield next(judgements) if isinstance(request, Request) else request


def _parse(line: _Numbered, folder: Path, overflow: Overflow) -> Request | YojError:
    try:
        entry = msgspec.json.decode(line.text, type=Line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return RequestError(f"not a request: {error}. A line is an object with prompt and responses.")
    if entry.video is not None:
        return RequestError("video is not supported by this version; give frames as image.")
    if entry.rankings is not None and len(entry.rankings) != len(entry.responses):
        return RequestError(f"{len(entry.rankings)} rankings for {len(entry.responses)} responses; give one for each.")
    images = [entry.image] if isinstance(entry.image, str) else entry.image or []
    return Request(entry.prompt, entry.responses, [folder / image for image in images], overflow)


def _result(line: _Numbered, result: Judgement | YojError) -> dict[str, Any]:
    about: dict[str, Any] = {"line": line.number, "request": line.digest}
    if isinstance(result, YojError):
        return about | {"error": {"type": type(result).__name__, "message": str(result)}}
    fields = result.to_dict()
    del fields["timings_ms"], fields["provenance"]
    return about | fields


def _read_done(previous: bytes, requests: Path) -> dict[int, _Done]:
    try:
        done = [msgspec.json.decode(line, type=_Done) for line in previous.splitlines()]
    except msgspec.MsgspecError as error:
        raise RequestError(
            f"The file for the results of {requests} holds something else: {error}. Choose another file."
        ) from error
    return {entry.line: entry for entry in done}


def _count(summary: Summary, line: _Numbered, best: int | None, error: dict[str, str] | None) -> None:
    if error is not None or best is None:
        summary.failed += 1
        summary.first_error = summary.first_error or f"line {line.number}: {(error or {}).get('message', '')}"
        return
    summary.scored += 1
    rankings = msgspec.json.decode(line.text, type=Line).rankings
    if rankings:
        summary.ranked += 1
        summary.right += rankings[best] == min(rankings)
