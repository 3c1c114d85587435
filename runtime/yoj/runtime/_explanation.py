"""Explanation of a judgement: what the scores are with each sentence and each region of a picture left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._judgement import Judgement
from ._sentences import sentences
from .batch import Prepared
from .errors import LimitError, RequestError
from .packing import without_last_newlines
from .prepare import Preparer, ReadRequest
from .script import Parts

REGIONS = 16
"""Regions of a picture, about, unless told otherwise."""
MAX_PASSES = 512
"""Most packs of one explanation unless told otherwise."""
TOGETHER = 16
"""Changed requests that are prepared before the engine reads them, since their pictures take memory."""

Grid = tuple[int, int]
"""Rows and columns of regions."""
ScoreAll = Callable[[Sequence[Prepared]], Sequence[Judgement]]


@dataclass(frozen=True)
class ShownPicture:
    """Picture of a request and its grid of regions."""

    name: str
    """Name of the picture in errors, such as ``images[0]``."""
    medium: int
    """Number of the picture among all media, those of the prompt first, then those of each response."""
    owner: int | None
    """Index of the response that shows it; None for the prompt."""
    size: tuple[int, int]
    """Height and width in pixels, upright."""
    grid: Grid
    """Rows and columns of the regions."""


@dataclass(frozen=True)
class LeftOut:
    """Scores without one sentence of a response or one region of a picture."""

    scores: tuple[float, ...]
    """[N] scores of the responses without it. Like all scores, they compare only with each other."""
    margin: float | None
    """Score of the response that is best with everything, less the highest of the others: below 0 where another would
    be best; None for one response."""
    effect: float
    """Lead that a response owes to it: the lead with everything less the lead without it, of the sentence's own
    response, or, for regions, of the best. A lead is a score less the highest of the responses that differ; of one
    response the score."""


@dataclass(frozen=True)
class LeftOutSentence(LeftOut):
    """Scores without one sentence."""

    response: int
    """Index of the response; where others are equal to it and were read once, it is left out of all of them."""
    part: int
    """Index of the part of the response; 0 for a response that is one text."""
    begin: int
    end: int
    """Characters of that part's text, from ``begin`` up to ``end``."""
    text: str


@dataclass(frozen=True)
class LeftOutRegion(LeftOut):
    """Scores with one region of a picture covered."""

    picture: int
    """Index into `Explanation.pictures`."""
    box: tuple[int, int, int, int]
    """Left, top, right and bottom in pixels of the picture."""


@dataclass(frozen=True)
class Explanation:
    """Judgement of a request, and what its scores would be with less."""

    judgement: Judgement
    """Judgement with everything."""
    sentences: tuple[LeftOutSentence, ...]
    """Sentences of all responses, in order."""
    regions: tuple[LeftOutRegion, ...]
    """Regions of all pictures, each picture's row by row."""
    pictures: tuple[ShownPicture, ...]
    """Pictures of the prompt, then of each response."""
    passes: int
    """Number of packs that were read, those of the judgement itself included."""
    notices: tuple[str, ...] = ()
    """Notices of what was not left out, each a full phrase."""

    def to_dict(self) -> dict[str, Any]:
        """Explanation as plain values that JSON can hold, without the judgement."""
        return {
            "sentences": [asdict(one) for one in self.sentences],
            "regions": [asdict(one) for one in self.regions],
            "pictures": [asdict(one) for one in self.pictures],
            "passes": self.passes,
            "notices": list(self.notices),
        }

    def effects(self, picture: int) -> NDArray[np.float64]:
        """Effects of the regions of a picture, float64 [rows, columns]."""
        effects = [one.effect for one in self.regions if one.picture == picture]
        return np.array(effects).reshape(self.pictures[picture].grid)

    def __str__(self) -> str:
        from ._explanation_table import table

        return table(self)


@dataclass(frozen=True)
class ExplanationConfig:
    """Settings of an explanation."""

    grid: Grid | None = None
    """Rows and columns of regions of each picture; None for about 16 that are about square."""
    max_passes: int = MAX_PASSES
    """Most packs that are read."""

    def __post_init__(self) -> None:
        if self.grid is not None and not (
            isinstance(self.grid, tuple | list)  # pyright: ignore[reportUnnecessaryIsInstance]
            and len(self.grid) == 2
            and all(isinstance(size, int) and size >= 1 for size in self.grid)  # pyright: ignore[reportUnnecessaryIsInstance]
        ):
            raise RequestError(f"grid is {self.grid!r}; give (rows, columns), each from 1, or None.")
        if not isinstance(self.max_passes, int) or self.max_passes < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RequestError(f"max_passes is {self.max_passes!r}; give a whole number from 1.")


@dataclass(frozen=True)
class _Sentence:
    """Sentence that is to be left out of one or several equal responses."""

    response: int
    part: int
    span: tuple[int, int]
    text: str
    changed: ReadRequest


@dataclass(frozen=True)
class _Region:
    """Region that is to be covered."""

    picture: int
    number: int
    """Number of the picture's medium."""
    box: tuple[int, int, int, int]


def explain(preparer: Preparer, score: ScoreAll, read: ReadRequest, config: ExplanationConfig) -> Explanation:
    """Score a request with each sentence and each region left out.

    Args:
        preparer: preparer of the bundle.
        score: function that scores prepared requests.
        read: the request, with the pixels of its pictures.
        config: settings.

    Raises:
        LimitError: more packs would be read than the settings allow.
        YojError: the request cannot be scored; see `yoj.runtime.Scorer.score_batch`.
    """
    prepared = preparer.pack(read)
    (whole,) = score([prepared])
    first = whole.duplicates or tuple(range(len(whole.scores)))
    base = replace(read, script=replace(read.script, responses=_as_read(read.script.responses, whole)))
    left, notices = _sentences(base, first, preparer.rules.layout.strips_newlines)
    pictures, regions = _regions(base, first, config.grid)
    _check_passes(prepared, len(left), len(regions), config)
    if read.script.videos:
        notices.append("the request has a video, of which no regions were covered: only those of pictures are")
    variants = (preparer.pack(one) for one in _variants(preparer, base, left, regions, first))
    judged: list[Judgement] = []
    passes = whole.passes
    while chunk := list(islice(variants, TOGETHER)):
        judged += (found := score(chunk))
        passes += sum(one.passes for one in found)
    without = iter(judged)
    return Explanation(
        whole,
        tuple(
            LeftOutSentence(
                *_measured(whole, next(without), one.response, first), one.response, one.part, *one.span, one.text
            )
            for one in left
        ),
        tuple(
            LeftOutRegion(*_measured(whole, next(without), whole.best, first), one.picture, one.box) for one in regions
        ),
        pictures,
        passes,
        tuple(notices),
    )


def _as_read(responses: tuple[Parts, ...], whole: Judgement) -> tuple[Parts, ...]:
    """Responses without what was cut off, or leaving a sentence out would let in what the judge did not read."""
    room = {cut.response: cut.kept for cut in whole.cuts}
    return tuple(
        _first_characters(parts, room[index]) if index in room else parts for index, parts in enumerate(responses)
    )


def _first_characters(parts: Parts, room: int) -> Parts:
    kept: list[str | int] = []
    for part in parts:
        if isinstance(part, str):
            part = part[:room]
            room -= len(part)
        kept.append(part)
    return tuple(kept)


def _sentences(base: ReadRequest, first: Sequence[int], strips_newlines: bool) -> tuple[list[_Sentence], list[str]]:
    """Sentences of the responses, each with the request without it, and notices of those that must stay."""
    left: list[_Sentence] = []
    kept: list[str] = []
    for response, parts in enumerate(base.script.responses):
        if first[response] != response:
            continue
        for place, part in enumerate(parts):
            for begin, end in sentences(part) if isinstance(part, str) else ():
                assert isinstance(part, str)
                shorter = (*parts[:place], _without(part, begin, end), *parts[place + 1 :])
                if strips_newlines and not without_last_newlines(shorter):
                    kept.append(str(response))
                    continue
                responses = tuple(
                    shorter if first[k] == response else one for k, one in enumerate(base.script.responses)
                )
                changed = replace(base, script=replace(base.script, responses=responses))
                left.append(_Sentence(response, place, (begin, end), part[begin:end], changed))
    said = "the only sentence of a response was not left out, since this bundle's trainer never scores an empty one: "
    return left, [f"{said}response {', '.join(kept)}"] if kept else []


def _without(text: str, begin: int, end: int) -> str:
    """Text without a sentence; where it is the last, the space that stood before it goes too."""
    if end < len(text):
        return text[:begin] + text[end:]
    return text[:begin].rstrip() + text[len(text.rstrip()) :]


def _regions(
    base: ReadRequest, first: Sequence[int], grid: Grid | None
) -> tuple[tuple[ShownPicture, ...], list[_Region]]:
    """Pictures of the request, those of equal responses once, and their regions."""
    pictures: list[ShownPicture] = []
    regions: list[_Region] = []
    for number, shown in enumerate(base.shown):
        owner = base.script.owners[number] - 1
        if shown.size is None or (owner >= 0 and first[owner] != owner):
            continue
        rows, columns = grid_for(shown.size, grid)
        regions += [_Region(len(pictures), number, box) for box in _boxes(shown.size, (rows, columns))]
        name = base.script.names[number]
        pictures.append(ShownPicture(name, number, owner if owner >= 0 else None, shown.size, (rows, columns)))
    return tuple(pictures), regions


def grid_for(size: tuple[int, int], wanted: Grid | None) -> Grid:
    """Rows and columns for a picture of a height and width: no more than it has pixels."""
    height, width = size
    if wanted is None:
        columns = min(max(1, round((REGIONS * width / height) ** 0.5)), REGIONS)
        wanted = max(1, round(REGIONS / columns)), columns
    return min(wanted[0], height), min(wanted[1], width)


def _boxes(size: tuple[int, int], grid: Grid) -> Iterator[tuple[int, int, int, int]]:
    """Left, top, right and bottom of each region, row by row."""
    (height, width), (rows, columns) = size, grid
    ys, xs = ([end * place // count for place in range(count + 1)] for end, count in ((height, rows), (width, columns)))
    for top, bottom in pairwise(ys):
        yield from ((left, top, right, bottom) for left, right in pairwise(xs))


def _variants(
    preparer: Preparer, base: ReadRequest, left: Sequence[_Sentence], regions: Sequence[_Region], first: Sequence[int]
) -> Iterator[ReadRequest]:
    """Changed requests, one at a time: pictures take memory."""
    yield from (one.changed for one in left)
    means: dict[bytes, NDArray[np.uint8]] = {}
    for region in regions:
        shown, owner = base.shown[region.number], _owner(base, region.number, first)
        assert shown.pixels_HWC is not None
        if shown.key not in means:
            means[shown.key] = mean_colour(shown.pixels_HWC)
        left_x, top, right, bottom = region.box
        pixels_HWC = np.array(shown.pixels_HWC)
        pixels_HWC[top:bottom, left_x:right] = means[shown.key]
        changed = base
        for number, other in enumerate(base.shown):
            if other.key == shown.key and other.size is not None and _owner(base, number, first) == owner:
                changed = preparer.repaint(changed, number, pixels_HWC)
        yield changed


def mean_colour(pixels_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean colour of a picture, uint8 [3], which covers its regions."""
    return np.rint(pixels_HWC.mean(axis=(0, 1))).astype(np.uint8)


def _owner(base: ReadRequest, number: int, first: Sequence[int]) -> int:
    """Owner of a medium, one for all equal responses; -1 for the prompt."""
    owner = base.script.owners[number] - 1
    return first[owner] if owner >= 0 else owner


def _check_passes(prepared: Prepared, texts: int, regions: int, config: ExplanationConfig) -> None:
    needed = len(prepared.packs) * (1 + texts + regions)
    if needed > config.max_passes:
        raise LimitError(
            f"The explanation leaves out {texts} sentences and covers {regions} regions, which takes {needed} packs; "
            f"the limit is {config.max_passes}. Give a coarser grid, fewer orders or shorter responses, or raise "
            "max_passes."
        )


def _measured(
    whole: Judgement, without: Judgement, response: int, first: Sequence[int]
) -> tuple[tuple[float, ...], float | None, float]:
    """Scores, margin of the best, and effect on a response."""
    effect = _lead(whole.scores, response, first) - _lead(without.scores, response, first)
    alone = whole.margin is None
    return without.scores, None if alone else _lead(without.scores, whole.best, first), effect


def _lead(scores: Sequence[float], response: int, first: Sequence[int]) -> float:
    """Score of a response less the highest of those that differ from it; the score where none does."""
    others = (score for score, one in zip(scores, first, strict=True) if one != first[response])
    return scores[response] - max(others, default=0.0)
