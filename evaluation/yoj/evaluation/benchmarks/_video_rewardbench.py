"""VideoRewardBench (arXiv 2509.00484): pairs of answers about a video, in five dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from yoj.runtime import MediaError, Request
from yoj.runtime.video import frame_files

from .._items import Item, Refusal, Scored
from ._base import Benchmark, FieldMap, Figures, TieRule
from ._fields import NativeRow, RowError, Schema, key_of, read_items
from ._measures import accuracy, write_rewards

SCHEMA = Schema(
    "VideoRewardBench",
    ("*.jsonl", "*.json", "*.parquet", "data/*.parquet"),
    ("id", "question", "chosen", "rejected", "video", "category"),
    advice="The names of its fields are not known for certain: give --field question=prompt, say, for a file whose "
    "questions are called prompt.",
    one_file=True,
)


def _make(row: NativeRow) -> Item:
    identifier, question = row.identifier("id"), row.prompt("question")
    responses, video = [row.response("chosen"), row.response("rejected")], row.video("video")
    return Item(
        key=key_of(identifier, question, row.value("video"), responses),
        id=identifier,
        group=key_of(question, row.value("video")),
        category=row.identifier("category"),
        request=Request(question, responses, video=video, placeholders="text"),
        ranks=(1.0, 2.0),
        native=row.plain() | {"frames_of_folder": _frames(video)},
    )


def _frames(video: Path) -> int | None:
    """Number of frames of a folder; None for a file, of which the bundle's own number is read."""
    if not video.is_dir():
        return None
    try:
        return len(frame_files(video))
    except MediaError as error:
        raise RowError("missing video", str(error)) from error


def read(given: Path, renamed: FieldMap) -> Iterator[Item | Refusal]:
    """Read the items; see `Benchmark.read`."""
    return read_items(given, SCHEMA, renamed, _make)


def measure(scored: Sequence[Scored], ties: TieRule) -> Figures:
    """Accuracy over all pairs, as the published overall figures are computed, and that of each dimension."""
    return accuracy(scored, ties, "overall")


def write_official(scored: Sequence[Scored], folder: Path) -> Sequence[Path]:
    """Write the native row of each pair, with ``rewards``, the scores of the chosen and of the rejected answer.

    No script of this benchmark was seen; this is the form that others of its kind read.
    """
    return write_rewards(scored, folder / "video-rewardbench.jsonl")


BENCHMARK = Benchmark(
    name="video-rewardbench",
    title="VideoRewardBench",
    told="1,563 pairs of answers about a video in five dimensions; accuracy over all pairs, and by dimension. The "
    "number of frames changes its figures: those of a video file are as many as the bundle reads.",
    hub="Dragonriser/VideoRewardBench",
    patterns=("*",),
    fields=(*SCHEMA.required, *SCHEMA.optional),
    ties="wrong",
    ties_published=False,
    read=read,
    measure=measure,
    write_official=write_official,
    unsure="the names of its files and fields and its own script were not seen; the names of fields are a guess, which "
    "--field replaces",
)
