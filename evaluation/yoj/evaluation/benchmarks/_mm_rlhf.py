"""MM-RLHF RewardBench (arXiv 2502.10391): pairs of answers about an image or the frames of a video, in sets by id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from yoj.runtime import MediaError, Request
from yoj.runtime.video import SECONDS_BETWEEN_FRAMES, frame_files

from .._items import Item, Refusal, Scored
from ._base import Benchmark, FieldMap, Figures, TieRule, credit
from ._fields import NativeRow, RowError, Schema, key_of, read_items, told
from ._measures import figures_of, write_rewards

KEYWORDS = ("mcq", "long", "short", "safety", "video")
"""Categories: the first that is a part of the path of the image or video."""
ELSE = "other"
"""Category of paths that have no keyword, which the official script counts in all but in no category."""
FRAMES = 32
"""Most frames of a video that the official script shows."""
SCHEMA = Schema(
    "MM-RLHF RewardBench",
    ("mm_reward_bench.jsonl", "data/*.parquet"),
    ("id", "prompt", "chosen", "rejected"),
    ("image", "video"),
    advice="Give mm_reward_bench.jsonl of yifanzhang114/MM-RLHF-RewardBench, beside the folders of its images.",
)


def category_of(path: str) -> str:
    """Category of the path of an image or video."""
    return next((keyword for keyword in KEYWORDS if keyword in path), ELSE)


def sample(count: int) -> list[int]:
    """Numbers of the frames that the official script shows of so many; each once, where there are fewer than 32."""
    return sorted({int(place) for place in np.linspace(0, count - 1, FRAMES, dtype=int)})


def _make(row: NativeRow) -> Item:
    identifier, prompt = row.identifier("id"), row.prompt("prompt")
    responses = [row.response("chosen"), row.response("rejected")]
    given = [name for name in ("image", "video") if row.value(name) is not None]
    if not given:
        raise RowError("missing image", "the row has neither an image nor a video; it has one of them")
    if len(given) == 2:
        raise RowError("two media", "the row has an image and a video; it has one of them")
    path = _path(row, given[0])
    native = row.plain() | {row.renamed.get(given[0], given[0]): path}
    if given[0] == "image":
        request = Request(prompt, responses, images=[row.image("image")], placeholders="text")
    else:
        request, native["frames_shown"] = _with_frames(row, prompt, responses)
    return Item(
        key=key_of(identifier, path, prompt, responses),
        id=identifier,
        group=identifier,
        category=category_of(path),
        request=request,
        ranks=(1.0, 2.0),
        native=native,
    )


def _path(row: NativeRow, name: str) -> str:
    """Path of a medium, which names its category."""
    value = row.value(name)
    path = value.get("path") if isinstance(value, dict) else value
    if not isinstance(path, str):
        raise RowError("wrong type", f"{row.named(name)} is {told(value)}; it holds the path of the {name}")
    return path


def _with_frames(row: NativeRow, prompt: str, responses: Sequence[str]) -> tuple[Request, list[int] | None]:
    """Request with the frames that the official script shows, and their numbers; None where the video is a file."""
    video = row.video("video")
    if not video.is_dir():
        return Request(prompt, responses, video=video, placeholders="text"), None
    try:
        files = sorted(frame_files(video), key=lambda file: file.name)
    except MediaError as error:
        raise RowError("missing video", str(error)) from error
    chosen = sample(len(files))
    frames, times = [files[place] for place in chosen], [place * SECONDS_BETWEEN_FRAMES for place in chosen]
    return Request(prompt, responses, video=frames, timestamps=times, placeholders="text"), chosen


def read(given: Path, renamed: FieldMap) -> Iterator[Item | Refusal]:
    """Read the items; see `Benchmark.read`."""
    return read_items(given, SCHEMA, renamed, _make)


def measure(scored: Sequence[Scored], ties: TieRule) -> Figures:
    """Accuracy over pairs (Acc), share of ids whose pairs are all right (ACC+), and both by category.

    The category of an id is the first of the keywords' order that any of its pairs has. Under the rule ``share`` an id
    with a tie has the credit of its worst pair.
    """
    rights: dict[str, list[float]] = defaultdict(list)
    categories: dict[str, set[str]] = defaultdict(set)
    credits: dict[str, list[float]] = {name: [] for name in ("Acc", "ACC+")}
    order = (*KEYWORDS, ELSE)
    credits |= {f"category/{name}{plus}": [] for name in order for plus in ("", " ACC+")}
    for one in scored:
        right = credit(one, ties)
        rights[one.item.group].append(right)
        categories[one.item.group].add(one.item.category)
        credits["Acc"].append(right)
        credits[f"category/{one.item.category}"].append(right)
    for group, all_of in rights.items():
        first = min(categories[group], key=order.index)
        credits["ACC+"].append(min(all_of))
        credits[f"category/{first} ACC+"].append(min(all_of))
    return figures_of("Acc", credits)


def write_official(scored: Sequence[Scored], folder: Path) -> Sequence[Path]:
    """Write what the official script of accuracies reads: the native row of each pair, with ``rewards`` added.

    The format was read in its script ``get_acc.py``: ``rewards`` are the scores of the chosen and of the rejected
    answer, and a pair is right where the first is higher.
    """
    return write_rewards(scored, folder / "mm-rlhf-rewardbench.jsonl")


BENCHMARK = Benchmark(
    name="mm-rlhf-rewardbench",
    title="MM-RLHF RewardBench",
    told="170 pairs of 46 ids about images or videos; accuracy over pairs (Acc) and the share of ids whose pairs are "
    "all right (ACC+). Of a folder of frames those are given that its own script shows, 32, evenly, sorted by name; "
    "the results say of how many items the judge read fewer.",
    hub="yifanzhang114/MM-RLHF-RewardBench",
    patterns=("*",),
    fields=(*SCHEMA.required, *SCHEMA.optional),
    ties="wrong",
    read=read,
    measure=measure,
    write_official=write_official,
    unsure="the frame rate of its videos is not published; frames are given 4 seconds each, as the YOJO code does",
)
