"""Lines of results, one JSON object each, and what they depend on.

A line of the result names the request's line and hash and the run's settings, so that an interrupted run goes on where
it stopped and never mixes the results of two files or of two bundles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import msgspec

from ._judgement import Judgement
from ._knockout import Knockout, knockout
from ._rationale import Explained, explained, language_path
from ._scorer import Scorer
from .codec import Reading, encode_judgement
from .dimensions import check_dimension
from .errors import RequestError, YojError
from .lines import Entry
from .manifest import EngineEntry, Manifest, Mode
from .orders import Orders
from .request import Request

CHUNK = 16
"""Number of requests that are scored together unless told otherwise."""
OURS = b'{"line":'
"""Beginning of every line of the results."""
OF_THE_RUN = ("timings_ms", "batch", "provenance")
"""Fields of a judgement that another run of the same settings would not repeat, or that `Done.run` stands for."""


Result: TypeAlias = "Judgement | Knockout | Exception"


class Done(msgspec.Struct):
    """Facts that a finished line states about itself."""

    line: int
    request: str
    run: str
    best: int | None = None
    right: bool | None = None
    """Whether the best response is one of the best-ranked; None without rankings, and where all of these tie."""
    error: dict[str, str] | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileScoring:
    """Settings for scoring the requests of a file."""

    reading: Reading
    mode: Mode | None = None
    """Mode of requests that name none."""
    orders: Orders = 1
    """Orders of requests that name none."""
    knockout: bool = False
    """Whether only the best response of each request is looked for; see `yoj.runtime.knockout`."""
    rationale: Explained | None = None
    """Responses of each request that are explained; None for none."""
    together: int = CHUNK
    """Number of requests that are scored together and written before the next are read."""


@dataclass(frozen=True)
class EarlierResults:
    """Content of a file of results."""

    done: list[Done]
    """Lines that can be read, failed ones too."""
    text: bytes = b""
    """Lines of requests that were scored; failed, damaged and half-written ones are to be tried again."""
    damaged: Sequence[int] = ()
    """Numbers, in the file, of lines that cannot be read, as after bit rot or a loss of power."""

    @property
    def scored(self) -> list[Done]:
        """Lines of requests that were scored."""
        return [entry for entry in self.done if entry.error is None]


def read_results(text: bytes, name: str) -> EarlierResults:
    """Decode a file of results. A damaged line costs itself alone, and of equal lines the first counts.

    Raises:
        RequestError: most of the lines are no results, so that the file is another one.
    """
    done: dict[bytes, Done] = {}
    damaged: list[int] = []
    foreign, first = 0, ""
    *whole, rest = text.split(b"\n")
    for number, line in enumerate(whole, 1):
        try:
            done.setdefault(line, msgspec.json.decode(line, type=Done))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            damaged.append(number)
            foreign += bool(line.strip(b"\0"))
            first = first or f": {error}"
    half = rest.startswith(OURS) or OURS.startswith(rest)  # as a killed run leaves it
    if not half:
        damaged.append(len(whole) + 1)
    if foreign > len(done) or not (half or done or not rest.strip(b"\0")):
        raise RequestError(f"{name} holds something else than results{first}. Choose another file for the results.")
    kept = b"".join(line + b"\n" for line, entry in done.items() if entry.error is None)
    return EarlierResults([*done.values()], kept, damaged)


def run_digest(manifest: Manifest, engine: EngineEntry, settings: FileScoring) -> str:
    """Hash of everything but the requests that the scores depend on."""
    reading = settings.reading
    of = (manifest.digest, engine.engine, engine.precision)
    of += (settings.mode or manifest.trained_mode, str(settings.orders), reading.overflow)
    of += (reading.placeholders,) if reading.placeholders != "error" else ()
    of += ("knockout",) if settings.knockout else ()
    of += (f"{reading.method} {reading.passes}",) if (reading.method, reading.passes) != (None, None) else ()
    of += (f"dimension {reading.dimension}",) if reading.dimension is not None else ()
    of += (f"rationale {settings.rationale}",) if settings.rationale is not None else ()
    return hashlib.sha256("\n".join(of).encode()).hexdigest()[:16]


def comparable_runs(manifest: Manifest, engine: EngineEntry, settings: FileScoring) -> frozenset[str]:
    """Digests of runs whose results compare with those of a run.

    Where placeholders are errors, what was scored has none, so that they may be read in any way now.
    """
    strict = replace(settings, reading=replace(settings.reading, placeholders="error"))
    return frozenset(run_digest(manifest, engine, one) for one in (settings, strict))


def check_settings(manifest: Manifest, engine: EngineEntry, settings: FileScoring) -> None:
    """Check what no request of a run could be scored without.

    Raises:
        RequestError: the judge has no such dimension as all requests ask for.
        BundleError: rationales are wanted, and the bundle writes none.
        EngineError: rationales are wanted, and the engine writes none.
    """
    check_dimension(settings.reading.dimension, manifest.value_head)
    if settings.rationale is not None:
        language_path(manifest, engine)


def score_entries(scorer: Scorer, entries: Sequence[Entry], settings: FileScoring) -> list[Result]:
    """Judgement or error of each line. An error of one line does not touch the others."""
    good = [entry.request for entry in entries if isinstance(entry.request, Request)]
    results: list[Result] = []
    try:
        if settings.knockout:
            results += [find_best(scorer, request, settings.mode) for request in good]
        else:
            results += scorer.score_batch(good, mode=settings.mode, orders=settings.orders, on_error="return")
    except Exception as error:
        if len(entries) == 1:
            return [error]
        return [result for entry in entries for result in score_entries(scorer, [entry], settings)]
    judgements = iter(results)
    return [next(judgements) if isinstance(entry.request, Request) else entry.request for entry in entries]


def find_best(scorer: Scorer, request: Request, mode: Mode | None) -> Knockout | YojError:
    """Winner of a knockout among the responses of a request, or the error that came."""
    try:
        return knockout(scorer, replace(request, mode=request.mode or mode))
    except YojError as error:
        return error


def explain(
    scorer: Scorer, entry: Entry, result: Result, which: Explained | None
) -> tuple[Result, dict[str, list[dict[str, Any]]]]:
    """Result of a line with the rationales of its responses, where they are wanted, or else the error that came."""
    if which is None or not (isinstance(result, Judgement) and isinstance(entry.request, Request)):
        return result, {}
    try:
        return result, {"rationales": encode_rationales(scorer, entry.request, result, which)}
    except YojError as error:
        return error, {}


def encode_rationales(scorer: Scorer, request: Request, judgement: Judgement, which: Explained) -> list[dict[str, Any]]:
    """Write rationales of responses, as JSON holds them: ``response``, ``text`` and ``stopped``.

    Raises:
        YojError: one cannot be written; see `yoj.runtime.Scorer.rationale`.
    """
    told: list[dict[str, Any]] = []
    for response in explained(judgement.scores, which):
        rationale = scorer.rationale(request, response)
        told.append({"response": response, "text": rationale.text, "stopped": rationale.stopped})
    return told


def encode_result(entry: Entry, run: str, result: Result, more: Mapping[str, Any]) -> bytes:
    """JSON line of a result or an error, with its line feed.

    Args:
        entry: the row; its request is not looked at.
        run: digest of the run's settings.
        result: judgement, winner or error of the row.
        more: further fields.
    """
    about: dict[str, Any] = {"line": entry.number, "request": entry.digest, "run": run}
    about |= {} if entry.id is None else {"id": entry.id}
    about |= {} if entry.metadata is None else {"metadata": entry.metadata}
    about |= {} if (right := _right(entry, result)) is None else {"right": right}
    if isinstance(result, Exception):
        return msgspec.json.encode(about | {"error": {"type": type(result).__name__, "message": _told(result)}}) + b"\n"
    told = encode_judgement(result) if isinstance(result, Judgement) else vars(result)
    fields = {name: value for name, value in told.items() if name not in (*OF_THE_RUN, "id")}
    return msgspec.json.encode(about | fields | dict(more)) + b"\n"


def _told(error: Exception) -> str:
    # Names of files that are not UTF-8 have surrogates, which no JSON can hold.
    return str(error).encode("utf-8", "backslashreplace").decode()


def done_of(entry: Entry, run: str, result: Result) -> Done:
    """Line of `encode_result` in short."""
    if not isinstance(result, Exception):
        return Done(entry.number, entry.digest, run, result.best, _right(entry, result), notices=result.notices)
    return Done(entry.number, entry.digest, run, error={"message": _told(result)})


def _right(entry: Entry, result: Result) -> bool | None:
    rankings = entry.rankings
    if isinstance(result, Exception) or not rankings or len({*rankings}) == 1:  # any first place would be right
        return None
    return rankings[result.best] == min(rankings)
