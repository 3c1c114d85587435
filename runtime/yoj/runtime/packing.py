"""Request -> the one row of tokens that the model reads, and where each response stands in it.

Each run of text between two special tokens is encoded in one piece, because BPE merges newlines into their
neighbours. Special tokens come only from the layout: their names inside a user's text are encoded as plain text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .errors import BundleError, LengthError
from .manifest import Layout, Mode
from .request import Request

Ids: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """A response that was shortened because the pack was too long."""

    response: int
    characters: int
    """Length before."""
    kept: int
    """Characters kept, from the start."""


@dataclass(frozen=True)
class Span:
    """A part of a medium's place in the row: text, or else tokens that the family chose."""

    text: str = ""
    ids: Ids | None = None


@dataclass(frozen=True)
class Pack:
    """One request as one row of tokens."""

    input_ids_L: Ids
    media_L: Ids
    """k+1 where the token stands for medium k of the request, 0 elsewhere."""
    segment_L: Ids
    """0 for the prompt and for everything in joint mode; k+1 for response k in isolated mode."""
    index_L: Ids
    """Place of the token in the sequence that it is part of: restarts after the prompt in isolated mode."""
    response_start_N: Ids
    """First token of each response: the one after its separator, as the reference counts. For the first response,
    the token that holds its first character."""
    response_end_N: Ids
    """The scored token: the one before the next separator, or the row's last."""
    cuts: tuple[Cut, ...] = ()


class Packer:
    """Packs requests in the layout of one bundle."""

    def __init__(self, tokenizer_file: Path, layout: Layout, max_tokens: int):
        """Load the tokenizer and resolve the layout's special tokens.

        Raises:
            BundleError: the tokenizer lacks a token of the layout, or gives the separator another id.
        """
        self._tokenizer: Any = Tokenizer.from_file(str(tokenizer_file))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # user text can then never become a special token
        self._layout = layout
        self._max_tokens = max_tokens
        if (found := self.token_id(layout.separator)) != layout.separator_id:
            raise BundleError(
                f"{tokenizer_file} gives {layout.separator} the id {found}, the manifest says {layout.separator_id}. "
                "Export the bundle again."
            )

    def token_id(self, token: str) -> int:
        """Id of a token that must exist."""
        found = cast("int | None", self._tokenizer.token_to_id(token))
        if found is None:
            raise BundleError(f"The bundle's tokenizer has no token {token}. Export the bundle again.")
        return found

    def pack(self, request: Request, media: Sequence[Sequence[Span]] = (), mode: Mode = "joint") -> Pack:
        """Pack a checked request.

        Args:
            request: with at least one response.
            media: what stands for each image, or for the video.
            mode: ``joint``, the responses one after the other; ``isolated``, each after the prompt as if alone.

        Raises:
            LengthError: longer than the bundle allows, unless the request says ``overflow="truncate"`` and
                shortening responses is enough.
        """
        build = self._pack if mode == "joint" else self._pack_isolated
        pack = build(_Parts(request.prompt, request.responses, media, request.video is not None))
        if len(pack.input_ids_L) <= self._max_tokens:
            return pack
        if request.overflow == "truncate":
            return self._pack_cut(request, media, build, len(pack.input_ids_L))
        spans = ", ".join(f"{k}: {n}" for k, n in enumerate(_spans(pack)))
        raise LengthError(
            f"The pack has L={len(pack.input_ids_L):,} tokens; the limit of this bundle is {self._max_tokens:,}. "
            f"Tokens by response: {spans}. Shorten or split the request, or ask for overflow='truncate'.",
            len(pack.input_ids_L),
        )

    def _pack(self, parts: _Parts) -> Pack:
        row = _Row()
        self._add(row, parts)
        input_ids_L, media_L, begins, first_start = row.encode(self._tokenizer)
        length = len(input_ids_L)
        separators = [begins[place] for place in row.separators]
        ends = [*(position - 1 for position in separators), length - 1]
        starts = [first_start, *(min(position + 1, length - 1) for position in separators)]
        return Pack(
            input_ids_L=input_ids_L,
            media_L=media_L,
            segment_L=np.zeros(length, np.int64),
            index_L=np.arange(length),
            response_start_N=np.minimum(np.array(starts, np.int64), ends),
            response_end_N=np.array(ends, np.int64),
        )

    def _pack_isolated(self, parts: _Parts) -> Pack:
        """The packs of the single responses, with what they share written once.

        A response whose first characters merge with the end of the prompt takes the tokens that differ with it.
        """
        alone = [self._pack(replace(parts, responses=[response])) for response in parts.responses]
        shared = min(int(pack.response_start_N[0]) for pack in alone)
        for pack in alone[1:]:
            differs = pack.input_ids_L[:shared] != alone[0].input_ids_L[:shared]
            shared = int(differs.argmax()) if differs.any() else shared
        tails = [len(pack.input_ids_L) - shared for pack in alone]
        begins = shared + np.cumsum([0, *tails[:-1]])
        starts = [int(pack.response_start_N[0]) - shared for pack in alone]
        return Pack(
            input_ids_L=np.concatenate([alone[0].input_ids_L[:shared], *(p.input_ids_L[shared:] for p in alone)]),
            media_L=np.concatenate([alone[0].media_L[:shared], *(p.media_L[shared:] for p in alone)]),
            segment_L=np.repeat(np.arange(len(alone) + 1), [shared, *tails]),
            index_L=np.concatenate([np.arange(shared), *(shared + np.arange(tail) for tail in tails)]),
            response_start_N=begins + np.array(starts, np.int64),
            response_end_N=begins + np.array(tails, np.int64) - 1,
        )

    def _add(self, row: _Row, parts: _Parts) -> None:
        for piece in self._layout.with_media if parts.media else self._layout.text_only:
            if piece.kind == "token":
                row.token(self.token_id(piece.value))
            elif piece.kind == "text":
                row.text(piece.value)
            elif piece.kind == "prompt":
                row.text(parts.prompt)
            elif piece.kind == "media":
                self._add_media(row, parts)
            elif piece.kind == "responses":
                row.mark_first_start()
                for number, response in enumerate(parts.responses):
                    if number:
                        row.text(self._layout.glue)
                        row.token(self._layout.separator_id, separator=True)
                        row.text(self._layout.glue)
                    row.text(response)

    def _add_media(self, row: _Row, parts: _Parts) -> None:
        images = len(parts.media) - parts.ends_with_video
        image = self._layout.one_image if images == 1 else self._layout.each_image
        for number, spans in enumerate(parts.media):
            for piece in image if number < images else self._layout.video:
                if piece.kind == "medium":
                    row.medium(spans, number + 1)
                elif piece.kind == "index":
                    row.text(str(number + 1))
                elif piece.kind == "token":
                    row.token(self.token_id(piece.value))
                else:
                    row.text(piece.value)

    def _pack_cut(
        self, request: Request, media: Sequence[Sequence[Span]], build: Callable[[_Parts], Pack], length: int
    ) -> Pack:
        """Cut the longest responses to one common length, the longest with which the pack fits."""
        offsets = [self._token_ends(response) for response in request.responses]
        sizes = np.array([len(ends) for ends in offsets])
        room = self._max_tokens - (length - int(sizes.sum()))
        while (cap := _common_cap(sizes, room)) > 0:
            kept = [
                response if len(ends) <= cap else response[: ends[cap - 1]]
                for response, ends in zip(request.responses, offsets, strict=True)
            ]
            pack = build(_Parts(request.prompt, kept, media, request.video is not None))
            over = len(pack.input_ids_L) - self._max_tokens
            if over <= 0:
                cuts = tuple(
                    Cut(k, len(full), len(part))
                    for k, (full, part) in enumerate(zip(request.responses, kept, strict=True))
                    if len(part) < len(full)
                )
                return replace(pack, cuts=cuts)
            room -= over
        raise LengthError(
            f"The pack has L={length:,} tokens; the limit of this bundle is {self._max_tokens:,}, and the prompt with "
            "its media leaves no room for the responses. Shorten the prompt or give fewer images or frames.",
            length,
        )

    def _token_ends(self, text: str) -> list[int]:
        """Where each token of ``text`` ends, in characters."""
        return [end for _, end in self._tokenizer.encode(text, add_special_tokens=False).offsets]


@dataclass(frozen=True)
class _Parts:
    """What goes into one row."""

    prompt: str
    responses: Sequence[str]
    media: Sequence[Sequence[Span]]
    ends_with_video: bool
    """Whether the last medium is a video; the others are images."""


@dataclass
class _Row:
    """A row under construction: runs of text, and tokens between them. All runs are encoded together at the end."""

    parts: list[str | tuple[Ids, int]] = field(default_factory=list["str | tuple[Ids, int]"])
    """A run of text, or tokens and the number of the medium that they stand for (0: none)."""
    separators: list[int] = field(default_factory=list[int])
    """Which parts are separators."""
    mark: tuple[int, int] = (0, 0)
    """Where the first response begins: a part, and a character of its run."""

    def text(self, text: str) -> None:
        if not text:
            return
        if self.parts and isinstance(last := self.parts[-1], str):
            self.parts[-1] = last + text
        else:
            self.parts.append(text)

    def token(self, token: int, separator: bool = False) -> None:
        if separator:
            self.separators.append(len(self.parts))
        self.parts.append((np.array([token], np.int64), 0))

    def medium(self, spans: Sequence[Span], number: int) -> None:
        """What stands for one medium. Its text may merge with the text before and behind, and is not marked as its."""
        for span in spans:
            if span.ids is None:
                self.text(span.text)
            else:
                self.parts.append((span.ids, number))

    def mark_first_start(self) -> None:
        """The next character that is added is the first of the first response."""
        inside = self.parts and isinstance(self.parts[-1], str)
        self.mark = (len(self.parts) - 1, len(self.parts[-1])) if inside else (len(self.parts), 0)

    def encode(self, tokenizer: Any) -> tuple[Ids, Ids, list[int], int]:
        """Ids [L], the medium of each [L], where each part begins, and the first token of the first response."""
        runs = [place for place, part in enumerate(self.parts) if isinstance(part, str)]
        texts = [self.parts[place] for place in runs]
        encodings = dict(zip(runs, tokenizer.encode_batch(texts, add_special_tokens=False), strict=True))
        ids: list[Ids] = []
        numbers: list[int] = []
        for place, part in enumerate(self.parts):
            run, number = (np.array(encodings[place].ids, np.int64), 0) if isinstance(part, str) else part
            ids.append(run)
            numbers.append(number)
        lengths = [len(run) for run in ids]
        begins = [0, *np.cumsum(lengths).tolist()]
        place, character = self.mark
        first_start = begins[place]
        if place in encodings:  # otherwise the first response is empty and stands beside a special token
            offsets = encodings[place].offsets
            later = (position for position, (_, end) in enumerate(offsets) if end > character)
            first_start += next(later, len(offsets))
        return np.concatenate(ids, dtype=np.int64), np.repeat(np.array(numbers, np.int64), lengths), begins, first_start


def _spans(pack: Pack) -> list[int]:
    return (pack.response_end_N - pack.response_start_N + 1).tolist()


def _common_cap(sizes: NDArray[np.int_], room: int) -> int:
    """The largest cap with sum(min(size, cap)) <= room."""
    low, high = 0, int(sizes.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if int(np.minimum(sizes, middle).sum()) <= room else (low, middle - 1)
    return low
