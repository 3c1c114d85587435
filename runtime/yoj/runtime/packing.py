"""Script -> the rows of tokens that the model reads, and where each response stands in them.

Each run of text between two special tokens is encoded in one piece, because BPE merges newlines into their
neighbours. Special tokens come only from the layout: their names inside a user's text are encoded as plain text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import BundleError, LengthError, RequestError
from .manifest import Layout, Mode, Piece
from .script import Parts, Script, Turn
from .text import Encoded, Ids, TextEncoder


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


Spans = Sequence[Sequence[Span]]
"""What stands for each medium, by its number."""


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
    owners: tuple[int, ...] = ()
    """For each medium, 0 for the prompt and k+1 for response k; empty where all are the prompt's."""


@dataclass(frozen=True)
class Reading:
    """How the responses of a script are read."""

    mode: Mode = "joint"
    """``joint``, the responses one after the other; ``isolated``, each after the prompt as if alone."""
    orders: tuple[tuple[int, ...], ...] | None = None
    """Of joint reading: for each row, the response that stands in each place; None for one row in the given order."""
    overflow: Literal["error", "truncate"] = "error"


class Packer:
    """Packs scripts in the layout of one bundle."""

    def __init__(self, encoder: TextEncoder, layout: Layout, max_tokens: int):
        """Check that the tokenizer fits the layout.

        Raises:
            BundleError: the tokenizer lacks the separator, or gives it another id.
        """
        self.encoder, self.layout, self._max_tokens = encoder, layout, max_tokens
        if (found := encoder.token_id(layout.separator)) != layout.separator_id:
            raise BundleError(
                f"The bundle's tokenizer gives {layout.separator} the id {found}, the manifest says "
                f"{layout.separator_id}. Export the bundle again."
            )

    def pack(self, script: Script, media: Spans = (), reading: Reading | None = None) -> tuple[Pack, ...]:
        """Pack a script: a row for each order.

        Args:
            script: within the limits of the bundle.
            media: what stands for each of its media.
            reading: how its responses are read; None for jointly, as given.

        Raises:
            RequestError: a turn that the checkpoint's chat template does not show.
            LengthError: longer than the bundle allows, unless ``overflow`` is ``truncate`` and shortening responses is
                enough.
        """
        reading = reading or Reading()
        packs = self._rows(script, media, reading)
        longest = max(packs, key=_length)
        if _length(longest) <= self._max_tokens:
            return packs
        if reading.overflow == "truncate":
            return self._cut(script, media, reading, _length(longest))
        spans = ", ".join(f"{k}: {n}" for k, n in sorted(_response_tokens(longest, reading, packs.index(longest))))
        raise LengthError(
            f"The pack has L={_length(longest):,} tokens; the limit of this bundle is {self._max_tokens:,}. "
            f"Tokens by response: {spans}. Shorten or split the request, or ask for overflow='truncate'.",
            _length(longest),
        )

    def _rows(self, script: Script, media: Spans, reading: Reading) -> tuple[Pack, ...]:
        n = len(script.responses)
        isolated = reading.mode == "isolated"
        orders = [(k,) for k in range(n)] if isolated else list(reading.orders or (tuple(range(n)),))
        rows = [self._row(script, media, order, shares=len(orders) > 1) for order in orders]
        encoded = self.encoder.encode(piece for row in rows for piece in row.texts())
        packs = [replace(row.pack(encoded), owners=script.owners) for row in rows]
        return (_side_by_side(packs),) if isolated else tuple(packs)

    def _row(self, script: Script, media: Spans, order: Sequence[int], shares: bool) -> _Row:
        """One row under construction, with these responses."""
        answers = [script.responses[k] for k in order]
        shown = {number for parts in (*(turn.parts for turn in script.turns), *answers) for number in parts}
        videos = script.videos
        images = sum(isinstance(part, int) and part not in videos for part in shown)
        markup = _Markup(self.layout, media, videos, self.layout.one_image if images == 1 else None)
        row = _Row(self.encoder, self.layout, markup, shares)
        turns = self.layout.with_media if any(isinstance(part, int) for part in shown) else self.layout.text_only
        before = ""
        for turn in script.turns:
            self._open(row, turns.before, (before, turn.role), script)
            row.content(self._shown(turn))
            before = turn.role
        if self.layout.name == "assistant":
            self._open(row, turns.before, (before, "assistant"), script)
        else:
            row.fixed(self.layout.glue)
        row.responses(answers)
        row.add(turns.after)
        return row

    def _open(self, row: _Row, before: Mapping[str, Sequence[Piece]], roles: tuple[str, str], script: Script) -> None:
        """What stands between two turns, with all media of the prompt where the template shows them there."""
        key = ">".join(role for role in roles if role)
        if key not in before:
            what = "a system turn" if "system" in key else "a conversation of several turns"
            raise RequestError(
                f"The prompt has {what}, which the chat template of this checkpoint cannot show, or which the version "
                "of yoj that wrote the bundle did not record. Give one question, or export the bundle again."
            )
        for piece in before[key]:
            if piece.kind == "media":
                prompt = range(script.owners.count(0))
                for number in sorted(prompt, key=lambda number: (number in row.markup.videos, number)):
                    row.medium(number)
            else:
                row.add((piece,))

    def _shown(self, turn: Turn) -> Parts:
        """The parts of a turn that stand in its place."""
        parts = turn.parts
        if self.layout.text_glue is None:
            texts = [place for place, part in enumerate(parts) if isinstance(part, str)]
            if len(texts) > 1 or (not self.layout.gathers_media and texts and texts[0] != len(parts) - 1):
                raise RequestError(
                    "The prompt has media between or behind its texts. This bundle is of a version of yoj that did not "
                    "record how its chat template shows that; export it again, or give the media first and one text."
                )
        return tuple(part for part in parts if isinstance(part, str)) if self.layout.gathers_media else parts

    def _cut(self, script: Script, media: Spans, reading: Reading, length: int) -> tuple[Pack, ...]:
        """Cut the longest responses to one common length, the longest with which every row fits."""
        whole = [[part for part in parts if isinstance(part, str)] for parts in script.responses]
        ends = {text: of.ends for text, of in self.encoder.encode(text for texts in whole for text in texts).items()}
        sizes = np.array([sum(len(ends[text]) for text in texts) for texts in whole])
        room = self._max_tokens - (length - int(sizes.sum()))
        while (cap := _common_cap(sizes, room)) > 0:
            kept = [_first_tokens(parts, cap, ends) for parts in script.responses]
            packs = self._rows(replace(script, responses=tuple(kept)), media, reading)
            over = max(map(_length, packs)) - self._max_tokens
            if over <= 0:
                pairs = enumerate(zip(script.responses, kept, strict=True))
                cuts = tuple(Cut(k, _characters(a), _characters(b)) for k, (a, b) in pairs if a != b)
                return tuple(replace(pack, cuts=cuts) for pack in packs)
            room -= over
        raise LengthError(
            f"The pack has L={length:,} tokens; the limit of this bundle is {self._max_tokens:,}, and the prompt with "
            "its media leaves no room for the responses. Shorten the prompt or give fewer images or frames.",
            length,
        )


@dataclass(frozen=True)
class _Markup:
    """What stands for media in a row."""

    layout: Layout
    media: Spans
    videos: frozenset[int]
    only_image: Sequence[Piece] | None
    """What stands for the row's image, where it has one."""

    def of(self, number: int) -> Sequence[Piece]:
        if number in self.videos:
            return self.layout.video
        return self.layout.each_image if self.only_image is None else self.only_image


@dataclass
class _Row:
    """A row under construction: runs of text, and tokens between them."""

    encoder: TextEncoder
    layout: Layout
    markup: _Markup
    shares: bool
    """Whether other rows hold the same texts: then these are cut so that each is encoded once."""
    parts: list[list[str] | tuple[Ids, int]] = field(default_factory=list["list[str] | tuple[Ids, int]"])
    """A run of text in pieces, or tokens and the number of the medium that they stand for, from 1 (0: none)."""
    separators: list[int] = field(default_factory=list[int])
    """Which parts are separators."""
    mark: tuple[int, int] = (0, 0)
    """Where the first response begins: a part, and a character of its run."""
    images: int = 0
    """Images that stand in the row so far."""

    def fixed(self, text: str) -> None:
        """A text of the layout."""
        if not text:
            return
        if self.parts and isinstance(last := self.parts[-1], list):
            last[-1] += text
        else:
            self.parts.append([text])

    def told(self, text: str) -> None:
        """A text of the request."""
        first, *rest = self.encoder.pieces(text) if self.shares else (text,)
        self.fixed(first)
        if rest:
            run = self.parts[-1]
            assert isinstance(run, list)
            run += rest

    def token(self, token: int) -> None:
        self.parts.append((np.array([token], np.int64), 0))

    def add(self, pieces: Iterable[Piece]) -> None:
        """Texts and special tokens of the layout."""
        for piece in pieces:
            if piece.kind == "token":
                self.token(self.encoder.token_id(piece.value))
            else:
                self.fixed(piece.value)

    def medium(self, number: int) -> None:
        """What stands for one medium. Its text may merge with the text before and behind, and is not marked as its."""
        self.images += number not in self.markup.videos
        for piece in self.markup.of(number):
            if piece.kind == "index":
                self.fixed(str(self.images))
            elif piece.kind != "medium":
                self.add((piece,))
            else:
                for span in self.markup.media[number]:
                    if span.ids is None:
                        self.fixed(span.text)
                    else:
                        self.parts.append((span.ids, number + 1))

    def content(self, parts: Parts) -> None:
        """Texts and media of a turn or a response."""
        for place, part in enumerate(parts):
            if isinstance(part, int):
                self.medium(part)
                continue
            if place and isinstance(parts[place - 1], str):
                self.fixed(self.layout.text_glue or "")
            self.told(part)

    def responses(self, answers: Sequence[Parts]) -> None:
        inside = bool(self.parts) and isinstance(last := self.parts[-1], list)
        self.mark = (len(self.parts) - 1, sum(map(len, last))) if inside else (len(self.parts), 0)
        for place, parts in enumerate(answers):
            if place:
                self.fixed(self.layout.glue)
                self.separators.append(len(self.parts))
                self.token(self.layout.separator_id)
                self.fixed(self.layout.glue)
            self.content(parts)

    def texts(self) -> Iterable[str]:
        """All pieces of text."""
        return (piece for part in self.parts if isinstance(part, list) for piece in part)

    def pack(self, encoded: Mapping[str, Encoded]) -> Pack:
        """The row as tokens."""
        ids: list[Ids] = []
        numbers: list[int] = []
        begins: list[int] = []
        length = 0
        for part in self.parts:
            begins.append(length)
            runs = [encoded[piece].ids for piece in part] if isinstance(part, list) else [part[0]]
            number = 0 if isinstance(part, list) else part[1]
            ids += runs
            numbers += [number] * len(runs)
            length += sum(map(len, runs))
        separators = [begins[place] for place in self.separators]
        ends = [*(position - 1 for position in separators), length - 1]
        first = self._first_start([*begins, length], encoded)
        starts = [first, *(min(position + 1, length - 1) for position in separators)]
        return Pack(
            input_ids_L=np.concatenate(ids, dtype=np.int64),
            media_L=np.repeat(np.array(numbers, np.int64), [len(run) for run in ids]),
            segment_L=np.zeros(length, np.int64),
            index_L=np.arange(length),
            response_start_N=np.minimum(np.array(starts, np.int64), ends),
            response_end_N=np.array(ends, np.int64),
        )

    def _first_start(self, begins: Sequence[int], encoded: Mapping[str, Encoded]) -> int:
        """First token of the first response."""
        place, character = self.mark
        start = begins[place]
        if place < len(self.parts) and isinstance(run := self.parts[place], list):
            for piece in run:
                # The last piece holds the place, or the response is empty and stands beside a special token.
                if character < len(piece) or piece is run[-1]:
                    return start + encoded[piece].token_at(character)
                character -= len(piece)
                start += len(encoded[piece].ids)
        return start


def _side_by_side(alone: Sequence[Pack]) -> Pack:
    """The packs of single responses as one row, with what they share written once.

    A response whose first characters merge with the end of the prompt takes the tokens that differ with it.
    """
    shared = min(int(pack.response_start_N[0]) for pack in alone)
    for pack in alone[1:]:
        differs = pack.input_ids_L[:shared] != alone[0].input_ids_L[:shared]
        differs |= pack.media_L[:shared] != alone[0].media_L[:shared]
        shared = int(differs.argmax()) if differs.any() else shared
    tails = [_length(pack) - shared for pack in alone]
    begins = shared + np.cumsum([0, *tails[:-1]])
    starts = [int(pack.response_start_N[0]) - shared for pack in alone]
    return Pack(
        input_ids_L=np.concatenate([alone[0].input_ids_L[:shared], *(p.input_ids_L[shared:] for p in alone)]),
        media_L=np.concatenate([alone[0].media_L[:shared], *(p.media_L[shared:] for p in alone)]),
        segment_L=np.repeat(np.arange(len(alone) + 1), [shared, *tails]),
        index_L=np.concatenate([np.arange(shared), *(shared + np.arange(tail) for tail in tails)]),
        response_start_N=begins + np.array(starts, np.int64),
        response_end_N=begins + np.array(tails, np.int64) - 1,
        owners=alone[0].owners,
    )


def _length(pack: Pack) -> int:
    return len(pack.input_ids_L)


def _response_tokens(pack: Pack, reading: Reading, row: int) -> list[tuple[int, int]]:
    """Index and tokens of each response of a row."""
    spans = (pack.response_end_N - pack.response_start_N + 1).tolist()
    order = reading.orders[row] if reading.orders else range(len(spans))
    return list(zip(order, spans, strict=True))


def _characters(parts: Parts) -> int:
    return sum(len(part) for part in parts if isinstance(part, str))


def _first_tokens(parts: Parts, cap: int, ends: Mapping[str, Sequence[int]]) -> Parts:
    """The parts with ``cap`` tokens of their texts, from the start; media stay."""
    kept: list[str | int] = []
    for part in parts:
        if isinstance(part, str):
            take, cap = min(cap, len(ends[part])), max(0, cap - len(ends[part]))
            part = part if take == len(ends[part]) else part[: ends[part][take - 1]] if take else ""
        kept.append(part)
    return tuple(kept)


def _common_cap(sizes: NDArray[np.int_], room: int) -> int:
    """The largest cap with sum(min(size, cap)) <= room."""
    low, high = 0, int(sizes.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if int(np.minimum(sizes, middle).sum()) <= room else (low, middle - 1)
    return low
