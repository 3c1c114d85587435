"""Multimodal RewardBench 2 (MMRB2): pairs of texts and pictures, each judged in both orders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yoj.runtime import Image, Request
from yoj.runtime.rows import Row, read_rows

from .._errors import EvaluationError
from .._items import Item, Pass, Refusal, Scored
from ._base import Benchmark, FieldMap, Figures, TieRule
from ._fields import NativeRow, RowError, Schema, find_files, read_items, told
from ._measures import figures_of
from ._pairs import pair_credit

TASKS = {"t2i": "task1_image", "edit": "task2_edit", "interleaved": "task3_interleaved", "reasoning": "task4_reasoning"}
"""Name of a task, as of its file or configuration -> its name in the official script."""
_PLACEHOLDER = re.compile(r"<image_(\d+)>")


def _built_rows(file: Path) -> Iterator[Row]:
    """Rows of a built file, which is one object whose ``pairs`` are in a list."""
    try:
        value: Any = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise EvaluationError(f"{file} cannot be read as JSON: {error}. Build the benchmark again.") from error
    pairs = value.get("pairs") if isinstance(value, dict) else None
    if not isinstance(pairs, list):
        raise EvaluationError(
            f"{file} is no built file of MMRB2: it is no object with a list 'pairs'. Give the folder that "
            "build_from_hf.py of the benchmark made."
        )
    task = _task(file)
    for number, pair in enumerate(pairs, 1):
        yield Row(number, {**pair, "task": task} if isinstance(pair, dict) else f"the pair is {told(pair)}")


def _column_rows(file: Path) -> Iterator[Row]:
    task = _task(file)
    for row in read_rows(file):
        yield row if isinstance(row.fields, str) else Row(row.number, {**row.fields, "task": task})


def _task(file: Path) -> str:
    """Task of a file, which its own name or that of its folder gives."""
    for name in (file.stem, file.stem.partition("-")[0], file.parent.name):
        if name in TASKS:
            return name
    raise EvaluationError(
        f"{file} names none of the tasks {', '.join(TASKS)}, by itself or by its folder. Name it like t2i.json, or put "
        "it into a folder such as t2i."
    )


BUILT = Schema(
    "MMRB2",
    tuple(f"{task}.json" for task in TASKS),
    ("id", "prompt_content", "response_a", "response_b", "chosen"),
    advice="READMEs name the keys pair_id, model and human_preference; built files have id, model_name and chosen.",
    rows=_built_rows,
)
"""Form of the files that the benchmark's scripts build, beside folders of pictures."""
COLUMNS = Schema(
    "MMRB2",
    ("*/test-*.parquet", "test-*.parquet"),
    (
        *("pair_id", "prompt_text", "prompt_images", "response_a_text", "response_a_images", "response_b_text"),
        *("response_b_images", "response_a_model", "response_b_model", "chosen"),
    ),
    rows=_column_rows,
)
"""Form of the hub: columns, with the pictures in the table."""


def _read(given: Path, renamed: FieldMap) -> Iterator[Item | Refusal]:
    files = find_files(given, replace(COLUMNS, files=COLUMNS.files + BUILT.files))
    if files[0].suffix != ".json":
        yield from read_items(given, COLUMNS, renamed, _of_columns)
        return
    if given.is_dir():
        files = [file for task in TASKS if (file := given / f"{task}.json").is_file()]
    for file in files:
        yield from read_items(file, BUILT, renamed, _of_built)


def _of_built(row: NativeRow) -> Item:
    prompt, models = _content(row, row.named("prompt_content"), row.value("prompt_content")), list[str]()
    responses: list[list[str | Image]] = []
    for name in ("response_a", "response_b"):
        response, named = row.value(name), row.named(name)
        if not isinstance(response, Mapping):
            raise RowError("wrong type", f"{named} is {told(response)}; it holds an object")
        for key in ("model_name", "response_content"):
            if key not in response:
                raise RowError("missing field", f"{named} has no {key!r}; it has {', '.join(response)}")
        models.append(str(response["model_name"]))
        responses.append(_content(row, f"{named}.response_content", response["response_content"]))
    return _item(row, row.identifier("id"), [prompt, *responses], models)


def _of_columns(row: NativeRow) -> Item:
    contents = [_placed(row, f"{name}_text", f"{name}_images") for name in ("prompt", "response_a", "response_b")]
    models = [row.text("response_a_model"), row.text("response_b_model")]
    return _item(row, row.identifier("pair_id"), contents, models)


def _item(row: NativeRow, identifier: str, contents: Sequence[list[str | Image]], models: Sequence[str]) -> Item:
    """Item of a pair from the contents of its prompt, response A and response B."""
    for name, content in zip(("prompt", "response", "response"), contents, strict=True):
        if not any(isinstance(part, Image) or part.strip() for part in content):
            raise RowError(f"empty {name}", f"a {name} has neither text nor picture")
    chosen = row.text("chosen").upper()
    if chosen not in ("A", "B"):
        raise RowError("chosen", f"{row.named('chosen')} is {row.text('chosen')!r}; it is A or B")
    task: str = row.fields["task"]
    prompt, *responses = contents
    key = f"{task}/{identifier}"
    return Item(
        key=key,
        id=identifier,
        group=key,
        category=task,
        request=Request(prompt, responses, placeholders="text"),
        ranks=(1.0, 2.0) if chosen == "A" else (2.0, 1.0),
        native={
            "id": identifier,
            "chosen": chosen,
            "model_names": list(models),
            "prompt_source": row.value("prompt_source"),
            "human_annotations": _annotations(row),
        },
    )


def _content(row: NativeRow, name: str, parts: object) -> list[str | Image]:
    """Parts of a list of ``["text", TEXT]`` and ``["image", PATH]``."""
    if not isinstance(parts, list):
        raise RowError("wrong type", f"{name} is {told(parts)}; it holds a list")
    content: list[str | Image] = []
    for place, part in enumerate(list[Any](parts)):
        where = f"{name}[{place}]"
        if not isinstance(part, list) or len(part) != 2 or not isinstance(part[1], str):
            raise RowError("wrong type", f"{where} is {told(part)}; it holds a kind and a text or path")
        if part[0] not in ("text", "image"):
            raise RowError("wrong type", f"{where} is of the kind {part[0]!r}, which is neither text nor image")
        content.append(part[1] if part[0] == "text" else _picture(row, where, part[1]))
    return content


def _placed(row: NativeRow, text_name: str, images_name: str) -> list[str | Image]:
    """Parts of a text and its pictures: they stand at ``<image_N>``, or behind a text that has none of these.

    That is how the benchmark's script builds its files, which also strips white space around the texts; where it would
    drop a picture or a placeholder the row is refused.
    """
    text = "" if row.value(text_name) is None else row.text(text_name)
    values = [] if row.value(images_name) is None else row.listed(images_name)
    images = [_picture(row, f"{row.named(images_name)}[{place}]", value) for place, value in enumerate(values)]
    pieces = _PLACEHOLDER.split(text)
    texts, numbers = [piece.strip() for piece in pieces[::2]], [int(number) for number in pieces[1::2]]
    if not numbers:
        return [*(one for one in texts if one), *images]
    if len(numbers) != len(images) or numbers[0] > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise RowError(
            "placeholders", f"{row.named(text_name)} has places for the images {numbers}, but the row has {len(images)}"
        )
    content: list[str | Image] = [texts[0]]
    for image, following in zip(images, texts[1:], strict=True):
        content += [image, following]
    return [part for part in content if part != ""]


def _picture(row: NativeRow, name: str, value: object) -> Image:
    return Image(replace(row, fields={name: value}, renamed={}).image(name))


def _annotations(row: NativeRow) -> object:
    """Votes of people: a list of numbers, or letters by response; a text of JSON in the hub's form."""
    value = row.value("human_annotations")
    if isinstance(value, str):
        try:
            value = json.loads(value) if value else None
        except ValueError as error:
            raise RowError("human_annotations", f"{row.named('human_annotations')} is no JSON: {error}") from error
    if not isinstance(value, list | dict | None):
        raise RowError("human_annotations", f"{row.named('human_annotations')} is {told(value)}")
    return value


def _measure(scored: Sequence[Scored], ties: TieRule) -> Figures:
    """Share of judgements that are right, over both orders of every pair, overall and by task.

    The official script leaves out pairs and orders without a judgement; here a pair that the judge failed on is wrong
    in both.
    """
    credits: dict[str, list[float]] = {}
    both: list[float] = []
    for one in scored:
        better, worse = (0, 1) if one.item.ranks[0] < one.item.ranks[1] else (1, 0)
        rights = [pair_credit(reading.scores, better, worse, ties) for reading in _both_orders(one)] or [0.0]
        credits.setdefault(one.item.category, []).append(sum(rights) / len(rights))
        both.append(min(rights))
    tasks = [task for task in TASKS if task in credits]
    headline = "overall" if len(tasks) == len(TASKS) else f"overall of {' and '.join(tasks)} alone"
    overall = [credit for task in tasks for credit in credits[task]]
    by_task = {f"category/{task}": credits[task] for task in tasks}
    return figures_of(headline, {headline: overall, "both orders right": both} | by_task)


def _both_orders(scored: Scored) -> Sequence[Pass]:
    """Readings of a pair in either order; none where the judge failed."""
    first_two = scored.passes[:2]
    if first_two and (len(first_two) < 2 or first_two[0].order == first_two[1].order):
        raise EvaluationError(
            f"{scored.item.key} was read in the orders {[reading.order for reading in first_two]}; MMRB2 counts each "
            "pair in both orders. Read it in 2 orders."
        )
    return first_two


def _write_official(scored: Sequence[Scored], folder: Path) -> Sequence[Path]:
    """Write one file for each task, as ``compute_accuracy.py --predictions`` reads them.

    A judgement names the place of the better response, A for the first, which in the reverse order is response B. Equal
    scores are a ``tie``, which the script counts as wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for task, name in TASKS.items():
        own = [one for one in scored if one.item.category == task and one.passes]
        if own:
            file = folder / f"{name}.json"
            predictions = {one.item.id: _prediction(_both_orders(one)) for one in own}
            file.write_text(json.dumps(predictions, indent=2), "utf-8")
            files.append(file)
    return files


def _prediction(readings: Sequence[Pass]) -> dict[str, list[dict[str, Any]]]:
    said: dict[str, list[dict[str, Any]]] = {"forward": [], "reverse": []}
    for reading in readings:
        first, second = (reading.scores[response] for response in reading.order)
        judgement = "tie" if first == second else "A" if first > second else "B"
        said["forward" if reading.order == (0, 1) else "reverse"].append(
            {"judgement": judgement, "evaluator": "yoj", "metadata": {"scores": list(reading.scores)}}
        )
    return said


BENCHMARK = Benchmark(
    name="mmrb2",
    title="Multimodal RewardBench 2 (MMRB2)",
    told="4,000 pairs of four tasks: pictures from text, edited pictures, interleaved text and pictures, and "
    "reasoning; each pair is judged in both orders, and the share of right judgements counts.",
    hub="rl-research/multimodal-rewardbench-2",
    patterns=("*/test-*.parquet",),
    fields=tuple(dict.fromkeys((*BUILT.required, *COLUMNS.required))),
    ties="wrong",
    read=_read,
    measure=_measure,
    write_official=_write_official,
    orders=2,
    unsure="the folders of the data set on the hub (t2i/test-*.parquet and so on) are supposed, and were not seen",
)
