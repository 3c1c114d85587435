"""Files of requests, one JSON object a line, scored into files of judgements, one line for each.

A line of the result names the request's line and hash and the run's settings, so that an interrupted run goes on where
it stopped and never mixes the results of two files or of two bundles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from .errors import RequestError, YojError
from .judgement import Judgement
from .manifest import Mode
from .orders import Orders
from .request import Overflow, Request
from .scorer import Scorer

CHUNK = 16
"""Requests that are scored together and written before the next are read."""
OURS = b'{"line":'
"""How every line of the results begins."""
MISSPELT = {"images": "image", "videos": "video", "response": "responses", "ranking": "rankings"}
OF_THE_RUN = ("mode", "orders", "overflow", "threads")
"""Options that hold for all lines; a line that names one would be scored otherwise than it says."""


class Line(msgspec.Struct, frozen=True):
    """One line of requests, in the fields of the reference's training data. Fields of other names are ignored."""

    prompt: str
    responses: list[str]
    image: str | list[str] | None = None
    """Path, or paths, relative to the folder of the file."""
    video: str | list[str] | None = None
    """A video file or a folder of frames, or the frames."""
    seconds_between_frames: float | None = None
    """Of a folder or list of frames; 4 where it is left out."""
    rankings: list[float] | None = None
    """[N] 1 = best, ties allowed; compared with the scores in the summary."""


class Done(msgspec.Struct):
    """What a finished line says of itself."""

    line: int
    request: str
    run: str
    best: int | None = None
    error: dict[str, str] | None = None


@dataclass(frozen=True)
class Settings:
    """How the requests of a file are scored."""

    folder: Path
    """Images and videos are relative to it."""
    mode: Mode | None = None
    orders: Orders = 1
    overflow: Overflow = "error"


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
class Numbered:
    """A line of the requests."""

    number: int
    text: bytes
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.text).hexdigest()[:16])


def read_lines(text: bytes) -> list[Numbered]:
    """The lines of a file of requests; blank ones are passed over."""
    return [Numbered(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]


def read_results(text: bytes, name: str) -> list[Done]:
    """The whole lines of a file of results.

    Raises:
        RequestError: the text is not, or not only, results.
    """
    whole = text[: text.rfind(b"\n") + 1]
    rest = text[len(whole) :]
    if rest and not (rest.startswith(OURS) or OURS.startswith(rest)):
        raise RequestError(f"{name} holds something else than results. Choose another file for the results.")
    try:
        return [msgspec.json.decode(line, type=Done) for line in whole.splitlines()]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{name} holds something else than results: {error}. Choose another file for the results."
        ) from error


def finished(text: bytes, name: str) -> tuple[list[Done], bytes]:
    """The scored lines of a file of results, and their text; failed and half-written lines are to be tried again.

    Raises:
        RequestError: the file holds something else.
    """
    done = read_results(text, name)
    lines = text.splitlines(keepends=True)
    kept = b"".join(line for line, entry in zip(lines, done, strict=False) if entry.error is None)
    return [entry for entry in done if entry.error is None], kept


def score_lines(
    scorer: Scorer,
    lines: Sequence[Numbered],
    done: Sequence[Done],
    settings: Settings,
    write: Callable[[bytes], None],
    advance: Callable[[int], None],
) -> Summary:
    """Score every line that has no result yet.

    Args:
        scorer: loaded.
        lines: of `read_lines`.
        done: results of an earlier run, which are not computed again.
        settings: of the run.
        write: called with the results of some lines, each ending in a newline.
        advance: called with the number of lines finished.

    Raises:
        RequestError: ``done`` are results of other requests, another bundle or other settings.
    """
    run = _run_digest(scorer, settings)
    _check_same(lines, done, run)
    finished, summary = {entry.line: entry for entry in done}, Summary(resumed=len(done))
    for line in lines:
        if line.number in finished:
            _count(summary, line, finished[line.number])
    advance(len(done))
    waiting = [line for line in lines if line.number not in finished]
    for start in range(0, len(waiting), CHUNK):
        chunk = waiting[start : start + CHUNK]
        results = _score_chunk(scorer, chunk, settings)
        write(b"".join(_encode(line, run, result) for line, result in zip(chunk, results, strict=True)))
        for line, result in zip(chunk, results, strict=True):
            failed = None if isinstance(result, Judgement) else {"message": str(result)}
            best = result.best if isinstance(result, Judgement) else None
            _count(summary, line, Done(line.number, line.digest, run, best, failed))
        advance(len(chunk))
    return summary


def _run_digest(scorer: Scorer, settings: Settings) -> str:
    """Of everything but the requests that the scores depend on."""
    of = (scorer.manifest.digest, scorer.engine.engine, scorer.engine.precision)
    of += (settings.mode or scorer.manifest.trained_mode, str(settings.orders), settings.overflow)
    return hashlib.sha256("\n".join(of).encode()).hexdigest()[:16]


def _check_same(lines: Sequence[Numbered], done: Sequence[Done], run: str) -> None:
    requests = {line.number: line.digest for line in lines}
    wrong = next((entry.line for entry in done if requests.get(entry.line) != entry.request), None)
    if wrong is not None:
        raise RequestError(
            f"The results do not belong to these requests: line {wrong} is another request. Choose another file."
        )
    if any(entry.run != run for entry in done):
        raise RequestError(
            "The results come from another bundle, or from another mode, number of orders or overflow setting; they "
            "would not compare. Choose another file for the results."
        )


def _score_chunk(scorer: Scorer, chunk: Sequence[Numbered], settings: Settings) -> list[Judgement | Exception]:
    """A judgement or an error for each line. Whatever goes wrong with one line stays with it."""
    parsed = [parse_line(line, settings) for line in chunk]
    good = [request for request in parsed if isinstance(request, Request)]
    results: list[Judgement | Exception] = []
    try:
        results += scorer.score_batch(good, mode=settings.mode, orders=settings.orders, on_error="return")
    except Exception as error:
        if len(chunk) == 1:
            return [error]
        return [result for line in chunk for result in _score_chunk(scorer, [line], settings)]
    judgements = iter(results)
    return [next(judgements) if isinstance(request, Request) else request for request in parsed]


def read_requests(file: Path, most: int | None = None) -> dict[int, Request]:
    """The requests of a file, or the first ``most`` of them, by line number. Media are not opened.

    Raises:
        RequestError: naming the file and the first line that is not a request.
    """
    requests: dict[int, Request] = {}
    for line in read_lines(file.read_bytes())[:most]:
        found = parse_line(line, Settings(file.parent))
        if not isinstance(found, Request):
            raise RequestError(f"{file}, line {line.number}: {found}")
        requests[line.number] = found
    return requests


def parse_line(line: Numbered, settings: Settings) -> Request | YojError:
    """The request of a line, or what is wrong with it."""
    try:
        entry = msgspec.json.decode(line.text, type=Line)
        names = msgspec.json.decode(line.text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return RequestError(f"not a request: {error}. A line is an object with prompt and responses.")
    if wrong := next((name for name in names if name in MISSPELT), None):
        return RequestError(f"the field {wrong!r} is not read; it is called {MISSPELT[wrong]!r}.")
    if wrong := next((name for name in names if name in OF_THE_RUN), None):
        return RequestError(f"the field {wrong!r} is not read; give --{wrong} for all requests of the file.")
    if "fps" in names:
        return RequestError(
            "the field 'fps' is not read: in the reference's data it holds seconds. Give seconds_between_frames."
        )
    if entry.rankings is not None and len(entry.rankings) != len(entry.responses):
        return RequestError(f"{len(entry.rankings)} rankings for {len(entry.responses)} responses; give one for each.")
    if entry.seconds_between_frames is not None and not entry.seconds_between_frames > 0:
        return RequestError(f"seconds_between_frames is {entry.seconds_between_frames}; give a number above 0.")
    if entry.seconds_between_frames is not None and entry.video is None:
        return RequestError("seconds_between_frames is given without a video.")
    if entry.video == "" or entry.image == "":
        return RequestError("image or video is an empty text; leave the field out where there is none.")
    return line_request(entry, settings.folder, settings.overflow)


def line_request(line: Line, folder: Path, overflow: Overflow = "error") -> Request:
    """The request of a line, its media looked for in ``folder``."""
    images = [line.image] if isinstance(line.image, str) else line.image or []
    video = [folder / frame for frame in line.video] if isinstance(line.video, list) else line.video
    return Request(
        line.prompt,
        line.responses,
        [folder / image for image in images],
        folder / video if isinstance(video, str) else video,
        1 / line.seconds_between_frames if line.seconds_between_frames else None,
        overflow,
    )


def _encode(line: Numbered, run: str, result: Judgement | Exception) -> bytes:
    about: dict[str, Any] = {"line": line.number, "request": line.digest, "run": run}
    if not isinstance(result, Judgement):
        return msgspec.json.encode(about | {"error": {"type": type(result).__name__, "message": str(result)}}) + b"\n"
    fields = result.to_dict()
    del fields["timings_ms"], fields["provenance"]
    return msgspec.json.encode(about | fields) + b"\n"


def _count(summary: Summary, line: Numbered, done: Done) -> None:
    if done.error is not None or done.best is None:
        summary.failed += 1
        summary.first_error = summary.first_error or f"line {line.number}: {(done.error or {}).get('message', '')}"
        return
    summary.scored += 1
    rankings = msgspec.json.decode(line.text, type=Line).rankings
    if rankings:
        summary.ranked += 1
        summary.right += rankings[done.best] == min(rankings)
