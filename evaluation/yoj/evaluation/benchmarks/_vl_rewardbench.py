"""VL-RewardBench (arXiv 2411.17451): pairs of answers about one image, in three groups."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from yoj.runtime import Request

from .._items import Item, Refusal, Scored
from ._base import Benchmark, FieldMap, Figures, TieRule
from ._fields import NativeRow, RowError, Schema, key_of, read_items, told
from ._measures import accuracy, mean_of, pick, write_lines

MARKER = "<image>\n"
"""Text that the official script takes out of prompts."""
GROUPS = ("general", "hallucination", "reasoning")
GROUP_OF = {
    "RLAIF": "hallucination",
    "RLHF": "hallucination",
    "hallucination": "hallucination",
    "mathverse": "reasoning",
    "mmmu": "reasoning",
}
"""Beginning of an id, up to its first ``_`` or ``-``, -> its group; those of VLFeedback and WildVision are general."""
KEPT = ("id", "query", "human_ranking", "models", "judge", "rationale", "query_source")
"""Fields that the official script reads, beside the responses."""
SCHEMA = Schema(
    "VL-RewardBench",
    ("data/test-*.parquet", "test-*.parquet"),
    ("id", "query", "response", "image", "human_ranking"),
    advice="Give the Parquet files of MMInstruction/VL-RewardBench, data/test-*.parquet; other tools keep copies of it "
    "in forms of their own, which are not read.",
)


def group_of(identifier: str) -> str:
    """Group of an id: general, hallucination or reasoning.

    Upper and lower case differ, as in the official script; those of POVID are hallucination in any case.
    """
    begin = re.split("[_-]", identifier, maxsplit=1)[0]
    return "hallucination" if begin.lower() == "povid" else GROUP_OF.get(begin, "general")


def _make(row: NativeRow) -> Item:
    identifier, query, responses = row.identifier("id"), row.text("query"), row.responses("response")
    ranking = row.listed("human_ranking")
    if len(responses) != 2:
        raise RowError("number of responses", f"response holds {len(responses)} texts; a pair has 2")
    if len(ranking) != 2:
        raise RowError("ranking length", f"human_ranking holds {len(ranking)} ranks for 2 responses")
    if ranking not in ([0, 1], [1, 0]):
        raise RowError("wrong value", f"human_ranking is {told(ranking)}; it is [0, 1] or [1, 0], where 0 is better")
    if not (prompt := query.replace(MARKER, "")).strip():
        raise RowError("empty prompt", "query is empty")
    # Ids are not unique; this is the official name of a row.
    official = identifier + query + "\t".join(sorted(responses))
    return Item(
        key=sha256(official.encode("utf-8", "surrogatepass")).hexdigest()[:20],
        id=identifier,
        group=key_of(identifier, query),
        category=group_of(identifier),
        request=Request(prompt, responses, images=[row.image("image")], placeholders="text"),
        ranks=(float(ranking[0] + 1), float(ranking[1] + 1)),
        native={name: row.fields.get(name) for name in KEPT},
    )


def read(given: Path, renamed: FieldMap) -> Iterator[Item | Refusal]:
    """Read the items; see `Benchmark.read`."""
    return read_items(given, SCHEMA, renamed, _make)


def measure(scored: Sequence[Scored], ties: TieRule) -> Figures:
    """Accuracy over all pairs, the mean of the three groups' accuracies, and each group's.

    Where a group has no items there is no mean.
    """
    return mean_of(accuracy(scored, ties, "overall"), "macro", [f"category/{group}" for group in GROUPS])


def write_official(scored: Sequence[Scored], folder: Path) -> Sequence[Path]:
    """Write what the official ``cal.py`` reads as the outputs of a judge, one line for each pair.

    The format was read in that script and in ``inference_hf.py``, in the version that takes the group of a pair from
    its id; this file is not for an older one, which reads a field ``image_path`` that the published data set has not.
    Each line says in the words that the script looks for which answer is better, in the order of the file
    (``random_number`` 0). Of equal scores the rejected one is named, which counts as wrong.
    """
    return write_lines(folder / "vl-rewardbench.jsonl", (_judged(one) for one in scored if one.scores is not None))


def _judged(one: Scored) -> dict[str, Any]:
    native, best = dict(one.item.native), pick(one)
    assert best is not None
    ranking = native.pop("human_ranking")
    judged = {
        "filter_choice": f"Overall Judgment: Answer {best + 1} is better.",
        "filter_number": best + 1,
        "random_number": 0,
        "flag_status": "agree" if ranking[best] == 0 else "reject",
    }
    return {**native, "response": list(one.item.request.responses), "ranking": ranking, "meta": judged}


BENCHMARK = Benchmark(
    name="vl-rewardbench",
    title="VL-RewardBench",
    told="1,250 pairs of answers about one image (1,247 in later revisions); accuracy over all pairs, beside the mean "
    "of the accuracies of its groups general, hallucination and reasoning. '<image>' and a line end are taken out of "
    "prompts, as its own script does. The file in official/ is for the cal.py that takes the group from the id, "
    "not for the older one that reads image_path.",
    hub="MMInstruction/VL-RewardBench",
    patterns=("data/test-*.parquet",),
    fields=(*SCHEMA.required, *SCHEMA.optional),
    ties="wrong",
    ties_published=False,
    read=read,
    measure=measure,
    write_official=write_official,
)
