"""A benchmark of JSON lines with few fields, for what does not depend on a benchmark; and scored items from numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from yoj.evaluation import EvaluationError, Item, Pass, Refusal, Scored
from yoj.evaluation.benchmarks._base import Benchmark, Figures, TieRule, credit
from yoj.runtime import Request
from yoj.runtime.rows import read_rows


def read(path: Path, fields: Mapping[str, str]) -> Iterator[Item | Refusal]:
    for row in read_rows(path):
        assert isinstance(row.fields, dict)
        given = row.fields
        prompt = fields.get("prompt", "prompt")
        if prompt not in given:
            raise EvaluationError(f"{path} has no field {prompt!r}.")
        if not all(given["responses"]):
            yield Refusal(row.number, given["id"], "empty response", "responses[0] is empty")
            continue
        images = [path.parent / given["image"]] if "image" in given else []
        request = Request(given[prompt], given["responses"], images)
        ranks = tuple(map(float, given["ranks"]))
        native = {"id": given["id"], "n": len(ranks)}
        yield Item(given["id"], given["id"], given.get("group", given["id"]), given["kind"], request, ranks, native)


def measure(scored: Sequence[Scored], ties: TieRule) -> Figures:
    """Accuracy, by category, and of groups of which every item is right."""
    credits: dict[str, list[float]] = {"accuracy": []}
    groups: dict[str, bool] = {}
    for one in scored:
        right = credit(one, ties)
        credits["accuracy"].append(right)
        credits.setdefault(f"category/{one.item.category}", []).append(right)
        groups[one.item.group] = groups.get(one.item.group, True) and right == 1
    credits["groups"] = [float(right) for right in groups.values()]
    values = {name: sum(own) / len(own) for name, own in credits.items()}
    return Figures("accuracy", values, {name: len(own) for name, own in credits.items()})


def write_official(scored: Sequence[Scored], folder: Path) -> Sequence[Path]:
    file = folder / "official.json"
    file.write_text(json.dumps({one.item.id: one.scores for one in scored if one.scores}), "utf-8")
    return [file]


TINY = Benchmark(
    name="tiny",
    title="Tiny",
    told="A few items of colours.",
    hub=None,
    patterns=("*.jsonl",),
    fields=("prompt",),
    ties="wrong",
    read=read,
    measure=measure,
    write_official=write_official,
    unsure="whether colours are told apart",
)

COLOURS = ("red", "blue", "green", "yellow")


def rows(count: int) -> list[dict]:
    """Rows of 2 to 4 responses, of two categories, two rows a group."""
    found: list[dict] = []
    for number in range(count):
        n = 2 + number % 3
        turned = [COLOURS[(number + k) % 4] for k in range(n)]
        responses = [f"It is {colour}{' and large' * (k == number % n)}." for k, colour in enumerate(turned)]
        ranks = [1 + (k - number) % n for k in range(n)]
        about = {"id": f"r{number}", "kind": ("form", "colour")[number % 2], "group": f"g{number // 2}"}
        found.append({**about, "prompt": f"Which colour is {number}?", "responses": responses, "ranks": ranks})
    return found


def write_rows(file: Path, found: Sequence[Mapping]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in found), "utf-8")
    return file


def scored(
    ranks: Sequence[float],
    *passes: tuple[Sequence[int], Sequence[float]],
    key: str = "k",
    group: str | None = None,
    responses: Sequence[str] | None = None,
    category: str = "c",
) -> Scored:
    """An item with its readings, each an order and the scores in the order of the file."""
    texts = responses or [f"response {k}" for k in range(len(ranks))]
    item = Item(key, key, group or key, category, Request("Which?", texts), tuple(ranks))
    read_in = tuple(Pass(tuple(order), tuple(values)) for order, values in passes)
    return Scored(item, read_in, None if passes else "it failed")
