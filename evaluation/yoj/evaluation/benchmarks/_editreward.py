"""EditReward-Bench: edited pictures as responses, in pairs of which all of a group must be right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yoj.runtime import Image, Request
from yoj.runtime.rows import read_rows

from .._items import Item, Refusal, Scored
from ._base import Benchmark, FieldMap
from ._editreward_figures import SIZES, measure, tie_width, winner
from ._fields import NativeRow, RowError, Schema, find_files, key_of, read_items, told

PAIRS = Schema(
    "EditReward-Bench",
    ("*pair/train-*.parquet", "data/train-*.parquet", "train-*.parquet"),
    ("id", "dataset", "instruction", "source_image", "candidate_1", "candidate_2", "ranking", "comparison_type"),
    advice="The set of the same name by EditScore is another benchmark.",
)
"""Form of the hub: one row for each pair, with its pictures."""
GROUPS = Schema(
    "EditReward-Bench", ("EditReward_Bench_*pair.json",), ("prompt", "path_src", "paths_generated", "human_vote")
)
"""Form that the authors' own script reads: one row for each group, with the paths of its pictures."""
LETTERS = "ABCD"
_COMPARED = re.compile(r"([A-D])vs([A-D])")


def _read(given: Path, renamed: FieldMap) -> Iterator[Item | Refusal]:
    file = find_files(given, replace(PAIRS, files=PAIRS.files + GROUPS.files))[0]
    row = None if file.suffix == ".parquet" else next(read_rows(file), None)
    if row is not None and not isinstance(row.fields, str) and row.fields.keys() & set(GROUPS.required):
        return read_items(given, GROUPS, renamed, _group)
    return read_items(given, PAIRS, renamed, _pair)


def _pair(row: NativeRow) -> Item:
    """Item of a pair. The pictures are named by two of the letters A to D, which ``comparison_type`` gives."""
    identifier, category = row.identifier("id"), row.text("dataset")
    if category not in SIZES:
        raise RowError("category", f"{row.named('dataset')} is {category!r}, which is none of {', '.join(SIZES)}")
    compared = "AvsB" if category == "2pair" and row.value("comparison_type") is None else row.text("comparison_type")
    found = _COMPARED.fullmatch(compared)
    if not found or found[1] == found[2]:
        raise RowError("comparison_type", f"{row.named('comparison_type')} is {compared!r}; it is like 'AvsB'")
    key = f"{category}/{identifier}/{compared}"
    return Item(
        key=key,
        id=identifier,
        group=key if category == "2pair" else f"{category}/{_group_id(identifier)}",
        category=category,
        request=_request(
            row.prompt("instruction"), row.image("source_image"), [row.image("candidate_1"), row.image("candidate_2")]
        ),
        ranks=_ranks(row.text("ranking"), found[1] + found[2], category),
        native={name: row.value(name) for name in ("id", "dataset", "instruction", "ranking")}
        | {"comparison_type": compared},
    )


def _group(row: NativeRow) -> Item:
    """Item of a whole group, whose pictures are named A, B, ... in the order of ``paths_generated``."""
    paths, vote = row.listed("paths_generated"), row.value("human_vote")
    category = f"{len(paths)}pair"
    if category not in SIZES:
        raise RowError("number of responses", f"{row.named('paths_generated')} has {len(paths)} pictures, not 2 to 4")
    ranking = vote.get("ranking") if isinstance(vote, Mapping) else None
    if not isinstance(ranking, str):
        raise RowError("ranking", f"{row.named('human_vote')} is {told(vote)}; it holds a text as its 'ranking'")
    names = [f"{row.named('paths_generated')}[{place}]" for place in range(len(paths))]
    pictures = replace(row, fields=dict(zip(names, paths, strict=True)), renamed={})
    prompt = row.prompt("prompt")
    key = key_of(prompt, row.value("path_src"), paths)
    return Item(
        key=key,
        id=f"{category}/{row.number}",
        group=key,
        category=category,
        request=_request(prompt, row.image("path_src"), [pictures.image(name) for name in names]),
        ranks=_ranks(ranking, LETTERS[: len(paths)], category),
        native={name: row.value(name) for name in GROUPS.required},
    )


def _group_id(identifier: str) -> str:
    """Group of an id, as the official script cuts it."""
    return identifier.split("_")[0] if "_" in identifier else identifier[:10]


def _request(instruction: str, source: bytes | Path, candidates: Sequence[bytes | Path]) -> Request:
    return Request([Image(source), instruction], [[Image(one)] for one in candidates], placeholders="text")


def _ranks(ranking: str, letters: str, category: str) -> tuple[float, ...]:
    """Ranks of the pictures that letters name, of a text such as ``C>A>B``, ``A<B`` or ``A=B=Good``.

    Raises:
        RowError: the text is another one, or has a tie where there are more than two pictures.
    """
    text = ranking.replace(" ", "")
    for quality in ("=Good", "=Bad"):
        text = text.removesuffix(quality)
    levels = text.split("<")[::-1] if "<" in text else text.split(">")
    ranks = {letter: float(place) for place, level in enumerate(levels, 1) for letter in level.split("=")}
    tied = "=" in text
    if sorted(ranks) != sorted(letters) or len(text) != 2 * len(letters) - 1 or ("=" in ranking and not tied):
        raise RowError("ranking", f"the ranking {ranking!r} does not name {', '.join(letters)} once each")
    if tied and category != "2pair":
        raise RowError("ranking", f"the ranking {ranking!r} has a tie, which only 2pair has")
    return tuple(ranks[letter] for letter in letters)


def _write_official(scored: Sequence[Scored], folder: Path) -> Sequence[Path]:
    """Write predictions as the authors' scripts write, and read, them.

    Pairs go into one file for each category in the form of ``inference_Npair_hf.py``, which computes its figures from
    such a file, at the place and of the name where it looks for results of a model. Pairs without scores are null in
    it, at their places. A pair of the category 2pair is a tie by the tuned width. Groups go into the list that
    ``eval_bench.py`` writes item by item; it reads none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for category, size in SIZES.items():
        own = [one for one in scored if one.item.category == category]
        pairs = [one for one in own if "comparison_type" in one.item.native]
        groups = [one for one in own if "comparison_type" not in one.item.native and one.scores is not None]
        width = tie_width(own) if own and category == "2pair" else 0.0
        if pairs:
            results = [_prediction(one, width) for one in pairs]
            files.append(_dump({"results": results}, folder / f"yoj_pairwise_{category}_{category}_hf.json"))
        if groups:
            logged = [_logged(one, f"{size}-Pair", place, width) for place, one in enumerate(groups)]
            files.append(_dump(logged, folder / f"EditReward_Bench_{category}_detailed_log.json"))
    return files


def _prediction(scored: Scored, width: float) -> dict[str, Any] | None:
    if scored.scores is None:
        return None
    native = scored.item.native
    first, second = native["comparison_type"].split("vs")
    vote = {0: f"{first}>{second}", 1: f"{second}>{first}", None: f"{first}={second}"}[winner(scored, width)]
    tied = scored.item.ranks[0] == scored.item.ranks[1]
    human = f"{first}={second}" if tied else f"{first}>{second}" if scored.item.ranks[0] == 1 else f"{second}>{first}"
    return {
        "id": native["id"],
        "instruction": native["instruction"],
        "human_vote": native["ranking"],
        "model_response": f"{scored.scores[0]!r} {scored.scores[1]!r}",
        "model_vote": vote,
        "is_correct": vote == human,
        "comparison_type": native["comparison_type"],
    }


def _logged(scored: Scored, name: str, place: int, width: float) -> dict[str, Any]:
    assert scored.scores is not None
    native, scores, ranks = scored.item.native, scored.scores, scored.item.ranks
    order = sorted(range(len(scores)), key=lambda one: -scores[one])
    predicted = {one: rank for rank, one in enumerate(order, 1)}
    tied = ranks[0] == ranks[1]
    strict = all(scores[a] > scores[b] for a in range(len(ranks)) for b in range(len(ranks)) if ranks[a] < ranks[b])
    return {
        "file_name": name,
        "sample_index": place,
        "prompt": native["prompt"],
        "ground_truth": native["human_vote"]["ranking"],
        "strict_accuracy_correct": winner(scored, width) is None if tied else strict,
        "model_outputs": [
            {"path": path, "score": scores[one], "predicted_rank": predicted[one]}
            for one, path in enumerate(native["paths_generated"])
        ],
    }


def _dump(value: object, file: Path) -> Path:
    file.write_text(json.dumps(value, indent=2), "utf-8")
    return file


BENCHMARK = Benchmark(
    name="editreward-bench",
    title="EditReward-Bench (TIGER-Lab)",
    told="484 groups of 2, 3 or 4 edits of a picture; a group counts as right where all its pairs are, and ties are a "
    "class of the groups of 2.",
    hub="TIGER-Lab/EditReward-Bench",
    patterns=("*pair/train-*.parquet",),
    fields=tuple(dict.fromkeys((*PAIRS.required, *GROUPS.required))),
    ties="wrong",
    read=_read,
    measure=measure,
    write_official=_write_official,
)
