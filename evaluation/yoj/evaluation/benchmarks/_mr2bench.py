"""MR2Bench-Image and MR2Bench-Video (arXiv 2604.10966): N answers about an image or a video, ranked by people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from yoj.runtime import Request, RequestError
from yoj.runtime.agreement import pairs
from yoj.runtime.codec import Ignore, Line, to_line
from yoj.runtime.error_texts import shorten
from yoj.runtime.rows import Row, read_rows
from yoj.runtime.strict_json import parse_object

from .._errors import EvaluationError
from .._items import Item, Refusal, Scored
from ._base import Benchmark, FieldMap, Figures, TieRule, credit
from ._fields import NativeRow, RowError, Schema, key_of, read_items, told
from ._measures import figures_of, in_order, write_lines
from ._orderings import Floats, agreements
from ._pairs import TIED_PAIR

Medium = Literal["image", "video"]
OTHER: dict[Medium, Medium] = {"image": "video", "video": "image"}
LISTS = ("ranking_data", "pair_data", "single_data", "data")
"""Fields of a JSON object that hold rows."""
ONE_BEST = "accuracy where one response is best"
UNSURE = (
    "the names of its files and fields were not seen: they are those of the YOJO code's training data, which "
    "--field replaces; its rule for responses that share the best rank is not published: any of them counts as right, "
    "and rows whose responses all share one rank are refused"
)


def _rows(file: Path) -> Iterator[Row]:
    """Rows of a file, also of one JSON object that holds lists of them."""
    lists = _lists(file)
    if lists is None:
        yield from read_rows(file)
        return
    number = 0
    for name, rows in lists.items():
        for place, fields in enumerate(rows):
            number += 1
            yield Row(number, fields if isinstance(fields, dict) else f"{name}[{place}] is {told(fields)}, no object")


def _lists(file: Path) -> Mapping[str, list[Any]] | None:
    """Lists of rows of a file that is one JSON object; None where it is not."""
    try:
        text = file.read_bytes()
        if not text.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
            return None
        whole = parse_object(text)
    except OSError as error:
        raise EvaluationError(f"{file} cannot be read: {error.strerror or error}.") from error
    except RequestError:  # JSON lines, or what the reader of rows says of it
        return None
    return {name: whole[name] for name in LISTS if isinstance(whole.get(name), list)} or None


def _schema(medium: Medium) -> Schema:
    names = (medium, medium.title())
    return Schema(
        f"MR2Bench-{medium.title()}",
        tuple(f"**/*{name}*.{ending}" for name in names for ending in ("jsonl", "json", "parquet")),
        ("prompt", "responses", "rankings"),
        ("image", "video", "id"),
        advice="The names of its fields are not known for certain: give --field rankings=ranks, say, for a file whose "
        "ranks are called ranks.",
        rows=_rows,
        one_file=True,
        one_of=(medium, OTHER[medium]),
    )


def _make(row: NativeRow, medium: Medium) -> Item:
    prompt, responses, ranks = row.prompt("prompt"), row.responses("responses"), row.listed("rankings")
    if len(responses) < 2:
        raise RowError("number of responses", f"{row.named('responses')} holds {len(responses)}; at least 2 compare")
    if len(ranks) != len(responses):
        raise RowError("ranking length", f"{len(ranks)} ranks for {len(responses)} responses")
    _check_ranks(prompt, responses, ranks)
    _check_medium(row, medium)
    about = row.value(medium)
    about = key_of(about) if isinstance(about, dict | bytes) else about
    return Item(
        key=key_of(prompt, responses, about),
        id=str(row.number) if row.value("id") is None else row.identifier("id"),
        group=key_of(prompt, about),
        category=f"{len(responses)} responses",
        request=Request(prompt, responses, images=[row.image("image")], placeholders="text")
        if medium == "image"
        else Request(prompt, responses, video=row.video("video"), placeholders="text"),
        ranks=tuple(map(float, ranks)),
        native=row.plain(),
    )


def _check_medium(row: NativeRow, medium: Medium) -> None:
    other = OTHER[medium]
    if row.value(other) is None:
        return
    if row.value(medium) is None:
        raise RowError("other medium", f"the row has the field {other} alone, and belongs to mr2bench-{other}")
    raise RowError("two media", "the row has an image and a video; it has one of them")


def _check_ranks(prompt: str, responses: Sequence[str], ranks: Sequence[Any]) -> None:
    try:
        to_line({"prompt": prompt, "responses": responses, "rankings": ranks}, Line, Ignore())
    except RequestError as error:
        raise RowError("ranking values", str(error)) from error
    if len({*ranks}) == 1:
        raise RowError("all tied", f"the ranks are {shorten(repr(ranks), 40)}: no response is better than another")


def _read(medium: Medium) -> Callable[[Path, FieldMap], Iterator[Item | Refusal]]:
    def read(given: Path, renamed: FieldMap) -> Iterator[Item | Refusal]:
        """Read the items; see `Benchmark.read`."""
        return read_items(given, _schema(medium), renamed, partial(_make, medium=medium))

    return read


def measure(scored: Sequence[Scored], ties: TieRule) -> Figures:
    """Accuracy of the highest score, and how far the scores agree with the whole rankings.

    ``accuracy`` counts any response of the best rank as right; the one beside it counts the items alone in which one
    response has that rank. ``pairwise accuracy`` is over all pairs of unequal ranks. The others are means over items,
    Kendall's tau-b and Spearman's correlation from -1 to 1; an item without scores counts as 0.
    """
    credits: dict[str, list[float]] = {"accuracy": [], ONE_BEST: []}
    by_n: dict[int, list[Scored]] = defaultdict(list)
    for one in scored:
        right = credit(one, ties)
        credits["accuracy"].append(right)
        credits.setdefault(f"category/{one.item.category}", []).append(right)
        if one.item.ranks.count(min(one.item.ranks)) == 1:
            credits[ONE_BEST].append(right)
        by_n[len(one.item.ranks)].append(one)
    pairs_right, pairs_all, means = 0.0, 0.0, defaultdict[str, list[Floats]](list)
    for all_of in by_n.values():
        right_B, all_B, values = _agreements(all_of, ties)
        pairs_right, pairs_all = pairs_right + right_B.sum(), pairs_all + all_B.sum()
        for name, values_B in values.items():
            means[name].append(values_B)
    figures = figures_of("accuracy", in_order(credits, "accuracy", ONE_BEST))
    values = {"pairwise accuracy": float(pairs_right / pairs_all)}
    values |= {name: float(np.concatenate(parts).mean()) for name, parts in means.items()}
    counts = {"pairwise accuracy": int(pairs_all)} | dict.fromkeys(means, len(scored))
    return Figures("accuracy", figures.values | values, figures.counts | counts)


def _agreements(scored: Sequence[Scored], ties: TieRule) -> tuple[Floats, Floats, dict[str, Floats]]:
    """Credit for pairs, their number, and agreements, each [B]; 0 where there are no scores."""
    ranks_BN = np.array([one.item.ranks for one in scored], np.float64)
    failed_B = np.array([one.scores is None for one in scored])
    scores_BN = np.array([one.scores or one.item.ranks for one in scored], np.float64)
    right_B, all_B = pairs(scores_BN, ranks_BN, TIED_PAIR[ties])
    values = {name: np.where(failed_B, 0, values_B) for name, values_B in agreements(scores_BN, ranks_BN, ties).items()}
    return np.where(failed_B, 0, right_B), all_B, values


def write_official(scored: Sequence[Scored], folder: Path) -> Sequence[Path]:
    """Write the native row of each item, with ``scores`` in the order of its responses.

    No script of this benchmark is published; this is its supposed form and one field more.
    """
    return write_lines(
        folder / "mr2bench.jsonl",
        ({**one.item.native, "scores": list(one.scores)} for one in scored if one.scores is not None),
    )


def _benchmark(medium: Medium, told_of: str) -> Benchmark:
    schema = _schema(medium)
    return Benchmark(
        name=f"mr2bench-{medium}",
        title=schema.title,
        told=f"{told_of}; how often the highest score is that of a best-ranked response, and how far the scores agree "
        "with the whole ranking. The gain of NDCG is the number of responses that are ranked worse, and its discount "
        "1 / log2(place + 1).",
        hub="yinuoy/MR2Bench",
        patterns=("*",),
        fields=(*schema.required, *schema.optional),
        ties="wrong",
        ties_published=False,
        read=_read(medium),
        measure=measure,
        write_official=write_official,
        unsure=UNSURE,
    )


IMAGE = _benchmark("image", "Answers of 8 models about one image, 4 at a time, ranked by people")
VIDEO = _benchmark("video", "Answers of 19 models about a video, 4 at a time, ranked by the votes of people")
