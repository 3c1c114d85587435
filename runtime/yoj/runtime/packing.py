"""Script -> the rows of tokens that the model reads, and where each response stands in them.

Each run of text between two special tokens is encoded in one piece, because BPE merges newlines into their
neighbours. Special tokens come only from the layout: their names inside a user's text are encoded as plain text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .dimensions import Asks
from .errors import BundleError, LengthError, RequestError
from .manifest import Layout, Mode, Piece
from .script import Parts, Script, Turn
from .stretch import Markup, RowTokens, Spans, Stretch
from .text import Ids, TextEncoder


@dataclass(frozen=True)
class Truncation:
    """Response that was shortened because the packed sequence was too long."""

    response: int
    characters: int
    """Length in characters before."""
    kept: int
    """Length in characters of the kept beginning."""


@dataclass(frozen=True)
class Pack:
    """One request as one row of tokens."""

    input_ids_L: Ids
    media_L: Ids
    """Medium that the token stands for: k+1 for medium k of the request, 0 for none."""
    segment_L: Ids
    """Segment of the token: 0 for the prompt and for everything in joint mode; k+1 for response k in isolated mode."""
    index_L: Ids
    """Position of the token in the sequence that it is part of: restarts after the prompt in isolated mode."""
    response_start_N: Ids
    """First token of each response: the one after its separator, as the YOJO code counts. For the first response, the
    token that holds its first character."""
    response_end_N: Ids
    """Scored token of each response: the one before the next separator, or the row's last; with the read-out
    ``token`` the special token behind the response."""
    cuts: tuple[Truncation, ...] = ()
    owners: tuple[int, ...] = ()
    """Owner of each medium, 0 for the prompt and k+1 for response k; empty where all are the prompt's."""


@dataclass(frozen=True)
class PackingOptions:
    """Mode, orders and overflow rule with which a script is packed."""

    mode: Mode = "joint"
    """Mode: ``joint``, the responses one after the other; ``isolated``, each after the prompt as if alone."""
    orders: tuple[tuple[int, ...], ...] | None = None
    """Order of each row of joint reading, the response that stands in each place; None for one row in the given
    order."""
    overflow: Literal["error", "truncate"] = "error"


class Packer:
    """Packer of scripts in the layout of one bundle."""

    def __init__(self, encoder: TextEncoder, layout: Layout, max_tokens: int, asks: Asks | None = None):
        """Check that the tokenizer fits the layout.

        Args:
            encoder: tokenizer of the bundle.
            layout: places of the responses.
            max_tokens: most tokens of a row.
            asks: questions behind the responses; None for none.

        Raises:
            BundleError: the tokenizer lacks a token of the layout, or has it as one that texts can become, or gives the
                separator another id.
        """
        self.encoder, self.layout, self._max_tokens = encoder, layout, max_tokens
        self.asks = asks or Asks()
        for piece in (*layout.pieces(), *(piece for ask in self.asks.rows for piece in ask)):
            if piece.kind == "token":
                encoder.special(piece.value)
            elif forged := encoder.forgeable(piece.value):
                raise BundleError(f"{forged}. Export the bundle again from a checkpoint whose tokenizer has it so.")
        if layout.separator is not None and (found := encoder.token_id(layout.separator)) != layout.separator_id:
            raise BundleError(
                f"The bundle's tokenizer gives {layout.separator} the id {found}, the manifest says "
                f"{layout.separator_id}. Export the bundle again."
            )

    def pack(self, script: Script, media: Spans = (), reading: PackingOptions | None = None) -> tuple[Pack, ...]:
        """Pack a script: a row for each order, or where there are questions, a row for each of them in each order.

        Args:
            script: a request within the limits of the bundle.
            media: text and tokens of each of its media.
            reading: mode, orders and overflow rule; None for joint reading in the given order.

        Raises:
            RequestError: the checkpoint's chat template does not show a turn.
            LengthError: the sequence is longer than the bundle allows, unless ``overflow`` is ``truncate`` and
                shortening responses is enough; or its texts are so long that it must be, without being encoded.
        """
        reading = reading or PackingOptions()
        self._check_characters(script)
        packs = self._rows(script, media, reading)
        longest = max(packs, key=_length)
        if _length(longest) <= self._max_tokens:
            return packs
        if reading.overflow == "truncate":
            return self._cut(script, media, reading, _length(longest))
        row = next(row for row, pack in enumerate(packs) if pack is longest) // len(self.asks.rows)
        spans = ", ".join(f"{k}: {n}" for k, n in sorted(_response_tokens(longest, reading, row)))
        raise LengthError(
            f"The pack has L={_length(longest):,} tokens; the limit of this bundle is {self._max_tokens:,}. "
            f"Tokens by response: {spans}. Shorten or split the request, or ask for overflow='truncate'.",
            _length(longest),
        )

    def open_row(self, script: Script, media: Spans, room: int) -> Pack:
        """Pack everything before the first response, as a model that writes it reads it.

        Args:
            script: a request within the limits of the bundle, whose responses are left out.
            media: text and tokens of each of its media.
            room: number of tokens that the response may take.

        Raises:
            RequestError: the checkpoint's chat template does not show a turn.
            LengthError: the row and the room together are longer than the bundle allows.
        """
        self._check_characters(script)
        place = _Place(0, True, False, 0, *self._media_of(script, ()))
        stretch = self._opening(script, media, place, shares=False)
        row = stretch.tokens(self.encoder.encode(stretch.texts()))
        length = len(row.ids)
        if length + room > self._max_tokens:
            raise LengthError(
                f"The row has L={length:,} tokens, and {room:,} more are to be written; the limit of this bundle is "
                f"{self._max_tokens:,}. Shorten the request, or ask for fewer tokens.",
                length + room,
            )
        last = np.array([length - 1])
        return Pack(row.ids, row.media, np.zeros(length, np.int64), np.arange(length), last, last, (), script.owners)

    def _check_characters(self, script: Script) -> None:
        """Refuse texts that no pack can hold before they are encoded, which takes a second for a million characters."""
        texts = [part for turn in script.turns for part in turn.parts] + [
            p for parts in script.responses for p in parts
        ]
        characters = sum(len(text) for text in texts if isinstance(text, str))
        fewest = self.encoder.fewest_tokens(characters)
        if fewest > self._max_tokens:
            raise LengthError(
                f"The request has {characters:,} characters of text, at least L={fewest:,} tokens; the limit of this "
                f"bundle is {self._max_tokens:,}. That is too long to be read, even to cut it. Shorten or split the "
                "request.",
                fewest,
            )

    def _rows(self, script: Script, media: Spans, reading: PackingOptions) -> tuple[Pack, ...]:
        n = len(script.responses)
        asks = range(len(self.asks.rows))
        if reading.mode == "isolated":
            alone = [[_Place(k, True, True, ask, *self._media_of(script, (k,))) for k in range(n)] for ask in asks]
            distinct = [place for places in alone for place in places]
            tokens = self._tokens(script, media, distinct, shares=len(distinct) > 1)
            return tuple(_side_by_side([tokens[place] for place in places], script.owners) for places in alone)
        if n > 1 and self.layout.separator is None:
            raise RequestError(
                f"The request has {n} responses to be read jointly, and this bundle's model reads one at a time. Ask "
                "for mode='isolated'."
            )
        orders = reading.orders or (tuple(range(n)),)
        has_media, images = self._media_of(script, range(n))
        inner = [[_Place(k, False, False, ask, has_media, images) for k in range(n)] for ask in asks]
        rows = [_numbered(script, [inner[ask][k] for k in order]) for order in orders for ask in asks]
        distinct = dict.fromkeys(place for row in rows for place in row)
        tokens = self._tokens(script, media, distinct, shares=len(rows) > 1)
        return _packs(tokens, rows, script.owners)

    def _media_of(self, script: Script, responses: Iterable[int]) -> tuple[bool, int]:
        """Whether the row of these responses has media, and the number of images among them."""
        owners = {0, *(k + 1 for k in responses)} if script.owners else set[int]()
        shown = [number for number, owner in enumerate(script.owners) if owner in owners]
        return bool(shown), sum(number not in script.videos for number in shown)

    def _tokens(self, script: Script, media: Spans, places: Iterable[_Place], shares: bool) -> dict[_Place, RowTokens]:
        """Encode each place of the rows, with its surroundings, as tokens.

        Args:
            script: the request with the responses of the places.
            media: text and tokens of each of its media.
            places: distinct places of the rows.
            shares: whether the prompt stands in several places; then its text is cut so that it is encoded once.
        """
        openings: dict[tuple[int, bool, int], Stretch] = {}
        stretches: dict[_Place, Stretch] = {}
        for place in places:
            key = place.ask, place.has_media, place.images_in_row
            if place.first and key not in openings:
                openings[key] = self._opening(script, media, place, shares)
            begin = openings[key] if place.first else None
            stretches[place] = self._stretch(script, self._markup(script, media, place), place, begin)
        encoded = self.encoder.encode(piece for stretch in stretches.values() for piece in stretch.texts())
        return {place: stretch.tokens(encoded) for place, stretch in stretches.items()}

    def _markup(self, script: Script, media: Spans, place: _Place) -> Markup:
        image = self.layout.one_image if place.images_in_row == 1 else self.layout.each_image
        return Markup(image, self.layout.video, media, script.videos)

    def _opening(self, script: Script, media: Spans, place: _Place, shares: bool) -> Stretch:
        """Stretch of everything before the first response."""
        stretch = Stretch(self.encoder, self._markup(script, media, place), self.layout.text_glue or "", shares)
        before = (self.layout.with_media if place.has_media else self.layout.text_only).before
        last, quoted = "", self._quotes(place)
        if quoted and len(script.turns) > 1:
            raise RequestError(
                f"The prompt is a conversation of {len(script.turns)} turns, and this judge quotes the prompt behind "
                "each response. Give it as one text, with its media."
            )
        for turn in script.turns:
            self._open(stretch, before, (last, turn.role), script)
            shown = self._shown(turn)
            stretch.content(tuple(part for part in shown if isinstance(part, int)) if quoted else shown)
            last = turn.role
        if self.layout.name == "assistant":
            self._open(stretch, before, (last, "assistant"), script)
        else:
            stretch.fixed(self.layout.glue)
        return stretch

    def _stretch(self, script: Script, markup: Markup, place: _Place, opening: Stretch | None) -> Stretch:
        """Stretch of a row from one separator to the next: a response, after the prompt where it is the first."""
        # In a row of its own a response is encoded once, but in three surroundings where there are several orders.
        shares = not (place.first and place.last)
        stretch = Stretch(self.encoder, markup, self.layout.text_glue or "", shares, place.images_before)
        if opening is not None:
            stretch.begin_with(opening, self.layout.splits_responses)
        else:
            stretch.fixed(self.layout.glue)
        stretch.content(self._said(script.responses[place.response]))
        self._ask(stretch, script, place)
        if place.last:
            stretch.add((self.layout.with_media if place.has_media else self.layout.text_only).after)
        else:
            assert self.layout.separator is not None
            stretch.fixed(self.layout.glue)
            stretch.token(self.layout.separator)
        return stretch

    def _quotes(self, place: _Place) -> bool:
        """Whether the question of a row quotes the prompt, whose texts then stand nowhere else."""
        return any(piece.kind == "prompt" for piece in self.asks.rows[place.ask])

    def _ask(self, stretch: Stretch, script: Script, place: _Place) -> None:
        """Add the question behind a response."""
        for piece in self.asks.rows[place.ask]:
            if piece.kind == "prompt":
                texts = (part for turn in script.turns for part in turn.parts if isinstance(part, str))
                stretch.fixed((self.layout.text_glue or "").join(texts))
            elif piece.kind == "token" and self.asks.reads_token:
                stretch.read_token(piece.value)
            else:
                stretch.add((piece,))

    def _said(self, parts: Parts) -> Parts:
        """Parts of a response as the row holds them, without newlines at the end where the layout strips them."""
        if not self.layout.strips_newlines:
            return parts
        if not (parts := without_last_newlines(parts)):
            raise RequestError("A response is empty or newlines only, which this bundle's trainer never scores.")
        return parts

    def _open(
        self, stretch: Stretch, before: Mapping[str, Sequence[Piece]], roles: tuple[str, str], script: Script
    ) -> None:
        """Add the pieces between two turns, with all media of the prompt where the template shows them there."""
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
                for number in sorted(prompt, key=lambda number: (number in script.videos, number)):
                    stretch.medium(number)
            else:
                stretch.add((piece,))

    def _shown(self, turn: Turn) -> Parts:
        """Parts of a turn as its place holds them: without media where the template gathers these elsewhere."""
        parts = turn.parts
        if self.layout.text_glue is None:
            texts = [place for place, part in enumerate(parts) if isinstance(part, str)]
            if len(texts) > 1 or (not self.layout.gathers_media and texts and texts[0] != len(parts) - 1):
                raise RequestError(
                    "The prompt has media between or behind its texts. This bundle is of a version of yoj that did not "
                    "record how its chat template shows that; export it again, or give the media first and one text."
                )
        return tuple(part for part in parts if isinstance(part, str)) if self.layout.gathers_media else parts

    def _cut(self, script: Script, media: Spans, reading: PackingOptions, length: int) -> tuple[Pack, ...]:
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
                cuts = tuple(Truncation(k, _characters(a), _characters(b)) for k, (a, b) in pairs if a != b)
                return tuple(replace(pack, cuts=cuts) for pack in packs)
            room -= over
        raise LengthError(
            f"The pack has L={length:,} tokens; the limit of this bundle is {self._max_tokens:,}, and the prompt with "
            "its media leaves no room for the responses. Shorten the prompt or give fewer images or frames.",
            length,
        )


def without_last_newlines(parts: Parts) -> Parts:
    """Copy of a response's parts without the newlines at its end."""
    *first, last = parts or ("",)
    if not isinstance(last, str):
        return parts
    return (*first, kept) if (kept := last.rstrip("\n")) else without_last_newlines(tuple(first)) if first else ()


class _Place(NamedTuple):
    """Place of a response in a row; equal places have the same tokens."""

    response: int
    first: bool
    last: bool
    ask: int
    """Number of the question behind the response."""
    has_media: bool
    """Whether the row has media."""
    images_in_row: int
    images_before: int = 0
    """Number of images before the response in its row; 0 for the first, which the prompt's precede, and where it has
    none to number."""


def _numbered(script: Script, inner: list[_Place]) -> list[_Place]:
    """Places of one row, with its ends and the numbers of its images."""
    if any(script.owners):
        before = sum(owner == 0 and number not in script.videos for number, owner in enumerate(script.owners))
        for place, one in enumerate(inner):
            images = [part for part in script.responses[one.response] if isinstance(part, int)]
            inner[place] = one._replace(images_before=before if images else 0)
            before += sum(number not in script.videos for number in images)
    inner[0] = inner[0]._replace(first=True, images_before=0)
    inner[-1] = inner[-1]._replace(last=True)
    return inner


def _packs(
    tokens: Mapping[_Place, RowTokens], rows: Sequence[Sequence[_Place]], owners: tuple[int, ...]
) -> tuple[Pack, ...]:
    """Build rows of as many places each, all at once; a separator ends every stretch but the last of a row."""
    index = {place: number for number, place in enumerate(tokens)}
    pool = np.concatenate([stretch.ids for stretch in tokens.values()])
    media_pool = np.concatenate([stretch.media for stretch in tokens.values()]) if owners else np.zeros_like(pool)
    lengths = np.array([len(stretch.ids) for stretch in tokens.values()])
    places_KN = np.array([[index[place] for place in row] for row in rows])
    lengths_KN = lengths[places_KN]
    behind_KN = np.cumsum(lengths_KN, axis=1)
    length_K = behind_KN[:, -1]
    # Where each token of the rows, one row after the other, stands in the pool.
    flat = lengths_KN.ravel()
    begins = (np.cumsum(lengths) - lengths)[places_KN].ravel()
    source: Ids = np.arange(int(length_K.sum())) + np.repeat(begins - (np.cumsum(flat) - flat), flat)
    ids, media = pool[source], media_pool[source]
    ends_KN = behind_KN - 2
    ends_KN[:, -1] += 1
    # The YOJO code counts the first response from its first character, and the others from behind their separator.
    starts_KN = np.empty_like(ends_KN)
    starts_KN[:, 0] = [tokens[row[0]].start for row in rows]
    starts_KN[:, 1:] = np.minimum(behind_KN[:, :-1], length_K[:, None] - 1)
    if any(stretch.read is not None for stretch in tokens.values()):
        read = np.array([-1 if stretch.read is None else stretch.read for stretch in tokens.values()])
        ends_KN = behind_KN - lengths_KN + read[places_KN]
    starts_KN = np.minimum(starts_KN, ends_KN)
    longest = int(length_K.max())
    zeros_L, index_L = np.zeros(longest, np.int64), np.arange(longest)
    packs: list[Pack] = []
    end = 0
    for length, starts_N, ends_N in zip(length_K.tolist(), starts_KN, ends_KN, strict=True):
        row = slice(end, end + length)
        end += length
        packs.append(Pack(ids[row], media[row], zeros_L[:length], index_L[:length], starts_N, ends_N, (), owners))
    return tuple(packs)


def _side_by_side(alone: Sequence[RowTokens], owners: tuple[int, ...]) -> Pack:
    """Merge rows of single responses into one row, with their common beginning written once.

    A response whose first characters merge with the end of the prompt takes the tokens that differ with it.
    """
    # An empty response at the end of its row is scored at the last token before it.
    starts = np.array([min(row.start, len(row.ids) - 1) for row in alone])
    shared = int(starts.min())
    head = alone[0]
    media = [row.media for row in alone]
    for row, own in zip(alone[1:], media[1:], strict=True):
        differs = row.ids[:shared] != head.ids[:shared]
        differs |= own[:shared] != media[0][:shared]
        shared = int(differs.argmax()) if differs.any() else shared
    tails = np.array([len(row.ids) - shared for row in alone])
    begins = shared + np.cumsum(tails) - tails
    index_L = np.arange(shared + int(tails.sum()))
    index_L[shared:] -= np.repeat(begins - shared, tails)
    return Pack(
        input_ids_L=np.concatenate([head.ids[:shared], *(row.ids[shared:] for row in alone)]),
        media_L=np.concatenate([media[0][:shared], *(own[shared:] for own in media)]),
        segment_L=np.repeat(np.arange(len(alone) + 1), [shared, *tails]),
        index_L=index_L,
        response_start_N=begins + starts - shared,
        response_end_N=np.array(
            [
                begin + (len(row.ids) - 1 if row.read is None else row.read) - shared
                for begin, row in zip(begins.tolist(), alone, strict=True)
            ]
        ),
        owners=owners,
    )


def _length(pack: Pack) -> int:
    return len(pack.input_ids_L)


def _response_tokens(pack: Pack, reading: PackingOptions, row: int) -> list[tuple[int, int]]:
    """Index and tokens of each response of a row."""
    spans = (pack.response_end_N - pack.response_start_N + 1).tolist()
    order = reading.orders[row] if reading.orders else range(len(spans))
    return list(zip(order, spans, strict=True))


def _characters(parts: Parts) -> int:
    return sum(len(part) for part in parts if isinstance(part, str))


def _first_tokens(parts: Parts, cap: int, ends: Mapping[str, Sequence[int]]) -> Parts:
    """Copy of the parts with the first ``cap`` tokens of their texts; media stay."""
    kept: list[str | int] = []
    for part in parts:
        if isinstance(part, str):
            take, cap = min(cap, len(ends[part])), max(0, cap - len(ends[part]))
            part = part if take == len(ends[part]) else part[: ends[part][take - 1]] if take else ""
        kept.append(part)
    return tuple(kept)


def _common_cap(sizes: NDArray[np.int_], room: int) -> int:
    """Largest cap with sum(min(size, cap)) <= room."""
    low, high = 0, int(sizes.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if int(np.minimum(sizes, middle).sum()) <= room else (low, middle - 1)
    return low
