"""Run of a judge over a benchmark: items are read and checked, scored in chunks, and written as they are scored."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from yoj.integrations import RemoteError
from yoj.runtime import MediaError, YojError
from yoj.runtime.error_texts import shorten
from yoj.runtime.version import __version__

from ._errors import EvaluationError
from ._items import Item, Refusal, Scored
from ._judges import BenchmarkJudge, JudgeAnswer
from ._media import PictureCheck
from ._passes import HowRead, draw_passes, in_order
from ._predictions import PREDICTIONS, PassLine, Prediction, encode, read_predictions, why_unwritable, write_predictions
from .benchmarks._base import Benchmark

RUN = "run.json"
TOGETHER = 16
"""Number of requests that are scored together and written before the next are."""
SHOWN = 3
"""Most refused rows of one kind that an error names."""


@dataclass(frozen=True)
class RunSettings:
    """Settings that scores depend on."""

    orders: int = 2
    """Number of orders in which each item is read; items of few responses have fewer."""
    seed: int = 0
    how: HowRead = HowRead()  # noqa: RUF009  (frozen)
    limit: int | None = None
    """Number of rows from the first that are read; None for all."""
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """Renamed fields of the file."""


@dataclass(frozen=True)
class Sheet:
    """Items of a benchmark, and the rows that cannot be scored."""

    items: tuple[Item, ...]
    refused: tuple[Refusal, ...] = ()

    @property
    def kinds(self) -> dict[str, int]:
        """Number of refused rows of each kind, the most frequent first."""
        return dict(Counter(one.kind for one in self.refused).most_common())


def read_items(benchmark: Benchmark, path: Path, settings: RunSettings) -> Sheet:
    """Read a benchmark whole.

    An item is refused whose key an earlier one has, whose fields no JSON can hold, or whose pictures are none.

    Raises:
        EvaluationError: the schema is another one, or there is no item at all.
    """
    if unknown := sorted({*settings.fields} - {*benchmark.fields}):
        raise EvaluationError(
            f"{benchmark.name} has no field {', '.join(unknown)} that may be renamed; it has "
            f"{', '.join(benchmark.fields) or 'none'}."
        )
    items: dict[str, Item] = {}
    refused: list[Refusal] = []
    pictures = PictureCheck()
    for row, found in enumerate(islice(benchmark.read(path, settings.fields), settings.limit), 1):
        if isinstance(found, Refusal):
            refused.append(found)
        elif found.key in items:
            refused.append(Refusal(row, found.id, "duplicate key", f"an earlier row has the key {found.key!r} too"))
        elif fault := why_unwritable(found):
            refused.append(Refusal(row, found.id, "unwritable value", f"its fields cannot be written as JSON: {fault}"))
        elif refusal := _media_fault(row, found, pictures):
            refused.append(refusal)
        else:
            items[found.key] = found
    if not items and not refused:
        raise EvaluationError(f"{path} holds no row of {benchmark.name}. Check the path.")
    return Sheet(tuple(items.values()), tuple(refused))


def _media_fault(row: int, item: Item, pictures: PictureCheck) -> Refusal | None:
    try:
        fault = pictures.fault(item.request)
    except MediaError as error:
        return Refusal(row, item.id, "unreadable video", str(error))
    except YojError as error:
        return Refusal(row, item.id, "unusable request", str(error))
    return Refusal(row, item.id, "unreadable image", fault) if fault else None


def told_refusals(sheet: Sheet) -> str:
    """Text that counts the refused rows by kind and names the first of each."""
    total = len(sheet.items) + len(sheet.refused)
    lines = [f"{len(sheet.refused)} of {total} rows cannot be scored:"]
    for kind, count in sheet.kinds.items():
        lines.append(f"  {kind}: {count}")
        for one in islice((one for one in sheet.refused if one.kind == kind), SHOWN):
            named = "" if one.id is None else f" ({_printable(one.id)})"
            lines.append(f"    row {one.row}{named}: {_printable(shorten(one.text, 300))}")
        lines += [f"    ... and {count - SHOWN} more"] if count > SHOWN else []
    return "\n".join(lines)


def _printable(text: str) -> str:
    """Text without half characters, which no terminal and no JSON can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def identity(
    benchmark: Benchmark, source: Mapping[str, Any], judge: Mapping[str, Any], settings: RunSettings
) -> dict[str, Any]:
    """Everything that the scores of a run depend on, as JSON has it.

    Args:
        benchmark: record of the benchmark.
        source: record of its files.
        judge: facts by which the judge is told from another, with the kind of option that it was given by.
        settings: settings of the run.
    """
    facts = {
        "yoj": __version__,
        "benchmark": benchmark.name,
        "source": source,
        "judge": judge,
        "settings": asdict(settings),
    }
    decoded: dict[str, Any] = json.loads(json.dumps(facts, default=dict))
    return decoded


def begin(
    folder: Path,
    facts: Mapping[str, Any],
    notes: Mapping[str, Any],
    check_source: Callable[[Mapping[str, Any]], None],
) -> None:
    """Write ``run.json``, or check that the one in the folder is of the same run, and leave that as it is.

    Args:
        folder: folder of the run, made where there is none.
        facts: facts that scores depend on, from `identity`.
        notes: other content of the file, which may differ in a run that goes on: those of the first stay.
        check_source: function that raises where the record of an earlier run's source is of another one.

    Raises:
        EvaluationError: another run left its results in the folder; the text names the differences.
    """
    file = folder / RUN
    if file.exists():
        earlier = read_run(folder)
        # The source compares by its own rules: files of the hub are the same as a copy of them here.
        if differing := differences(earlier, {name: fact for name, fact in facts.items() if name != "source"}):
            raise EvaluationError(
                f"{folder} holds another run, whose results do not mix with this one: {'; '.join(differing)}. Choose "
                "another --out, or repeat the earlier command to go on with it."
            )
        check_source(earlier.get("source", {}))
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise EvaluationError(f"{folder} holds files and no {RUN}, so it is no run. Choose another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    spare = file.with_name(f".{RUN}.tmp")
    spare.write_text(json.dumps({**facts, "notes": dict(notes)}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    spare.replace(file)


def read_run(folder: Path) -> dict[str, Any]:
    """Content of ``run.json`` of a run.

    Raises:
        EvaluationError: it cannot be read.
    """
    file = folder / RUN
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{file} cannot be read: {error}. Give a folder that yoj-eval run wrote.") from error
    if not isinstance(found, dict):
        raise EvaluationError(f"{file} is no object. Give a folder that yoj-eval run wrote.")
    return found


def differences(one: Mapping[str, Any], other: Mapping[str, Any], name: str = "") -> list[str]:
    """Phrases that name what differs between two records; what only ``one`` says is passed over at the top."""
    keys = other if not name else {**one, **other}
    told: list[str] = []
    for key in keys:
        a, b, where = one.get(key), other.get(key), f"{name}.{key}" if name else key
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            told += differences(a, b, where)
        elif a != b:
            told.append(f"{where} was {shorten(json.dumps(a), 80)} and is {shorten(json.dumps(b), 80)}")
    return told


def score(
    sheet: Sheet, judge: BenchmarkJudge, settings: RunSettings, folder: Path, advance: Callable[[int], object]
) -> list[Prediction]:
    """Score every item that has no prediction in the folder yet; those that failed are tried again.

    Args:
        sheet: items of the benchmark.
        judge: the judge.
        settings: settings of the run.
        folder: folder with ``predictions.jsonl``, appended to chunk by chunk and in the order of the items at the end.
        advance: function that takes the number of items that are done, those of an earlier run first.

    Returns:
        A prediction for each item, in their order.

    Raises:
        EvaluationError: the folder has predictions of other items, or a server scored nothing of a chunk.
    """
    file = folder / PREDICTIONS
    earlier = read_predictions(file) if file.exists() else []
    done = {one.key: one for one in earlier if one.error is None}
    if strange := [key for key in done if key not in {item.key for item in sheet.items}]:
        raise EvaluationError(f"{file} has the item {strange[0]!r}, which is none of this run. Choose another --out.")
    if earlier:
        write_predictions(file, done.values())
    advance(len(done))
    waiting = [item for item in sheet.items if item.key not in done]
    with file.open("ab") as stream:
        for chunk in _chunks(waiting, settings):
            for one in _score_chunk(chunk, judge, settings):
                stream.write(encode(one))
                done[one.key] = one
            stream.flush()
            advance(len(chunk))
    ordered = [done[item.key] for item in sheet.items]
    write_predictions(file, ordered)
    return ordered


def judged(sheet: Sheet, predictions: Sequence[Prediction]) -> list[Scored]:
    """Items of a run with what the judge made of them."""
    return [one.scored(item) for one, item in zip(predictions, sheet.items, strict=True)]


def _chunks(items: Sequence[Item], settings: RunSettings) -> Iterator[Sequence[Item]]:
    size = max(1, TOGETHER // settings.orders)
    return (items[begin : begin + size] for begin in range(0, len(items), size))


def _score_chunk(items: Sequence[Item], judge: BenchmarkJudge, settings: RunSettings) -> list[Prediction]:
    plans = [draw_passes(len(item.ranks), settings.orders, item.key, settings.seed) for item in items]
    requests = [in_order(item, order, settings.how) for item, plan in zip(items, plans, strict=True) for order in plan]
    start = time.perf_counter()
    answers = judge.read(requests)
    milliseconds = 1000 * (time.perf_counter() - start) / len(items)
    if all(isinstance(answer, RemoteError) for answer in answers):
        raise EvaluationError(
            f"The server scored none of {len(answers)} requests: {answers[0]} What was scored is kept: repeat the "
            "command when the server is back."
        )
    left = iter(answers)
    return [
        _prediction(item, plan, [next(left) for _ in plan], milliseconds)
        for item, plan in zip(items, plans, strict=True)
    ]


def _prediction(
    item: Item, plan: Sequence[tuple[int, ...]], answers: Sequence[JudgeAnswer | YojError], milliseconds: float
) -> Prediction:
    good = [answer for answer in answers if isinstance(answer, JudgeAnswer)]
    failed = next((answer for answer in answers if not isinstance(answer, JudgeAnswer)), None)
    return Prediction(
        key=item.key,
        id=item.id,
        group=item.group,
        category=item.category,
        ranks=item.ranks,
        passes=()
        if failed is not None
        else tuple(PassLine(order, _of_file(order, one.scores)) for order, one in zip(plan, good, strict=True)),
        # Names of files that are not UTF-8 have surrogates.
        error=None if failed is None else _printable(str(failed)),
        temperature=good[0].temperature if good else 1.0,
        calibrated=bool(good) and all(one.calibrated for one in good),
        notices=tuple(dict.fromkeys(notice for one in good for notice in one.notices)),
        frames=good[0].frames if good else None,
        milliseconds=round(milliseconds, 3),
        native=item.native,
    )


def _of_file(order: Sequence[int], scores: Sequence[float]) -> tuple[float, ...]:
    """Scores in the order of the file, from scores by place."""
    by_response = dict(zip(order, scores, strict=True))
    return tuple(by_response[index] for index in range(len(order)))
