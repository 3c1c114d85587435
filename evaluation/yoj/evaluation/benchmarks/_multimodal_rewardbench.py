"""Multimodal RewardBench (arXiv 2502.14191): pairs of answers about one image, in categories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yoj.runtime import Request

from .._items import Item, Refusal, Scored
from ._base import Benchmark, FieldMap, Figures, TieRule
from ._fields import NativeRow, RowError, Schema, key_of, read_items, told
from ._measures import accuracy, pick, write_lines

LETTERS = "AB"
SPLIT = {"safety": ("pairs", "bias", "toxicity"), "reasoning": ("math", "math", "coding")}
"""Category -> the beginning of ids, in any case, of its first part; and the names of its two parts."""
SCHEMA = Schema(
    "Multimodal RewardBench",
    ("data/all_data.json", "all_data.json"),
    ("ID", "Text", "Output1", "Output2", "Better", "Category"),
    ("Image",),
    advice="Give all_data.json, which its script scripts/0_download_data.py writes from all_data_release.json: only "
    "then the prompts stand in Text and the images in the folder images beside it.",
)


def category_of(category: str, identifier: str) -> str:
    """Category by which the official script counts: safety and reasoning have two parts each, told by the id."""
    if category not in SPLIT:
        return category
    begin, first, second = SPLIT[category]
    return f"{category}/{first if identifier.lower().startswith(begin) else second}"


def _make(row: NativeRow) -> Item:
    identifier, text = row.identifier("ID"), row.prompt("Text")
    responses = [row.response("Output1"), row.response("Output2")]
    if (better := row.value("Better")) not in ("Output1", "Output2"):
        raise RowError("wrong value", f"{row.named('Better')} is {told(better)}; it is 'Output1' or 'Output2'")
    image, category = row.image("Image"), row.text("Category")
    return Item(
        key=key_of(identifier, text, responses),
        id=identifier,
        group=key_of(text, row.value("Image")),
        category=category_of(category, identifier),
        request=Request(text, responses, images=[image], placeholders="text"),
        ranks=(1.0, 2.0) if better == "Output1" else (2.0, 1.0),
        native={"ID": identifier, "Better": better, "Category": category},
    )


def read(given: Path, renamed: FieldMap) -> Iterator[Item | Refusal]:
    """Read the items; see `Benchmark.read`."""
    return read_items(given, SCHEMA, renamed, _make)


def measure(scored: Sequence[Scored], ties: TieRule) -> Figures:
    """Accuracy over all pairs, which the official script calls ``all``, and that of each category."""
    return accuracy(scored, ties, "all")


def write_official(scored: Sequence[Scored], folder: Path) -> Sequence[Path]:
    """Write what the official ``scripts/2_get_accuracy.py`` reads, one line for each pair.

    The format was read in that script. ``output`` names the better answer as ``[[A]]``, the first output of the file,
    or ``[[B]]``. Of equal scores the worse answer is named, which counts as wrong.
    """
    return write_lines(
        folder / "multimodal-rewardbench.jsonl", (_judged(one) for one in scored if one.scores is not None)
    )


def _judged(one: Scored) -> dict[str, Any]:
    native, best = one.item.native, pick(one)
    assert best is not None
    return {
        "ID": native["ID"],
        "Label": "B" if native["Better"] == "Output2" else "A",
        "output": f"The better answer is [[{LETTERS[best]}]]",
        "Meta": {"Category": native["Category"]},
    }


BENCHMARK = Benchmark(
    name="multimodal-rewardbench",
    title="Multimodal RewardBench",
    told="5,000 pairs of answers about one image in the paper, fewer in the public release; accuracy over all pairs, "
    "and by category.",
    hub=None,
    patterns=(),
    fields=(*SCHEMA.required, *SCHEMA.optional),
    ties="wrong",
    ties_published=False,
    read=read,
    measure=measure,
    write_official=write_official,
    unsure="the names of its categories and the number of pairs in its release were not seen",
)
