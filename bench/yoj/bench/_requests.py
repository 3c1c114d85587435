"""Requests of a given size, prepared for the variants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yoj.runtime import Prepared, Request, Scorer

from ._errors import BenchError
from ._results import RequestShape

WORD = "small"
FIRST = ("red", "blue", "green", "big", "old", "new", "the", "a")
"""First words of the responses, which differ, so that scores do."""


@dataclass(frozen=True)
class Size:
    """Size of a request."""

    prompt: int = 512
    """Tokens before the first response, visual ones included."""
    response: int = 64
    """Tokens of a response and the separator before it."""
    n: int = 8
    side: int = 0
    """Side of a square image in pixels; 0 for text alone."""
    batch: int = 1


@dataclass(frozen=True)
class BenchRequest:
    """Request that is prepared for every strategy."""

    request: Request
    packed: tuple[Prepared, ...]
    """Packed requests [B], all the same."""
    isolated: Prepared
    single: tuple[Prepared, ...]
    """Requests [N] of one response each with the prompt."""
    shape: RequestShape


def make_bench_request(scorer: Scorer, size: Size, threads: int) -> BenchRequest:
    """Prepare a request of about this size; its shape tells the exact one.

    Raises:
        BenchError: the prompt is shorter than the template around it.
    """
    images = [np.random.default_rng(0).integers(0, 256, (size.side, size.side, 3), np.uint8)] if size.side else []
    request = request_of(scorer, size, images)
    packed = scorer.prepare(request, "joint")
    single = tuple(scorer.prepare(Request(request.prompt, [r], images), "joint") for r in request.responses)
    (pack,) = packed.packs
    start = int(pack.response_start_N[0])
    shape = RequestShape(
        B=size.batch,
        L=packed.tokens,
        N=size.n,
        P=start,
        R=round((packed.tokens - start) / size.n),
        V=sum(medium.rows for medium in packed.media),
        threads=threads,
    )
    return BenchRequest(request, (packed,) * size.batch, scorer.prepare(request, "isolated"), single, shape)


def request_of(scorer: Scorer, size: Size, images: list[np.ndarray]) -> Request:
    """Prompt and responses of one word again and again, with so many tokens."""

    def tokens(prompt: str, responses: list[str]) -> int:
        return scorer.prepare(Request(prompt, responses, images)).tokens

    empty = scorer.prepare(Request("", [FIRST[0]], images))
    around, empty_tokens = int(empty.packs[0].response_start_N[0]), empty.tokens
    word = (tokens(f"{WORD} " * 100, [FIRST[0]]) - empty_tokens) / 100
    room = size.prompt - around
    if room < 0:
        what, fix = (" and the image", " or a smaller image") if images else ("", "")
        raise BenchError(
            f"A prompt of {size.prompt} tokens has no room for the {around} of the chat template{what}. Give a longer "
            f"prompt{fix}."
        )
    # The separator and what stands around it are part of a response.
    pair = tokens("", [FIRST[0], FIRST[1]]) - empty_tokens
    words = max(0, round((size.response - pair) / word))
    responses = [f"{FIRST[k % len(FIRST)]} " + f"{WORD} " * words for k in range(size.n)]
    return Request(f"{WORD} " * max(1, round(room / word)), responses, images)


def save_image(case: BenchRequest, folder: Path) -> Path | None:
    """Image of the case as a PNG file, or None."""
    from PIL import Image

    if not case.request.images:
        return None
    file = folder / "image.png"
    Image.fromarray(np.asarray(case.request.images[0])).save(file)
    return file
