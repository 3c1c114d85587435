"""Stretch of a row under construction: runs of text, with special tokens and media between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .manifest import Piece
from .script import Parts
from .text import Encoded, Ids, TextEncoder


@dataclass(frozen=True)
class Span:
    """Part of a medium's place in the row: text, or else tokens that the family chose."""

    text: str = ""
    ids: Ids | None = None


Spans: TypeAlias = Sequence[Sequence[Span]]
"""Spans of each medium, by its number."""


@dataclass(frozen=True)
class Markup:
    """Text and tokens that represent media in a row."""

    image: Sequence[Piece]
    video: Sequence[Piece]
    media: Spans
    videos: frozenset[int]
    """Numbers of the media that are videos."""


@dataclass(frozen=True)
class RowTokens:
    """Stretch of a row as tokens."""

    ids: Ids
    numbers: tuple[tuple[int, int], ...]
    """Number and length of each run of tokens: k+1 where it stands for medium k, or else 0."""
    start: int
    """Index of the first token behind the opening: the one that holds its first character."""
    read: int | None = None
    """Index of the special token that is read; None where it is the last of the response."""

    @property
    def media(self) -> Ids:
        """Medium of each token: k+1 for medium k, 0 for none."""
        numbers, lengths = zip(*self.numbers, strict=True) if self.numbers else ((), ())
        return np.repeat(np.array(numbers, np.int64), lengths)


class Stretch:
    """Stretch of a row under construction."""

    def __init__(self, encoder: TextEncoder, markup: Markup, text_glue: str, shares: bool, images: int = 0):
        """Begin an empty stretch.

        Args:
            encoder: tokenizer of the bundle.
            markup: text and tokens that represent media.
            text_glue: text between two texts of one turn.
            shares: whether other stretches hold the same texts; then these are cut so that each is encoded once.
            images: number of images in the row before.
        """
        self._encoder, self._markup, self._text_glue, self._shares = encoder, markup, text_glue, shares
        self._images = images
        # A run of text in pieces, or tokens and the number of the medium that they stand for, from 1 (0: none).
        self._parts: list[list[str] | tuple[Ids, int]] = []
        self._mark = (0, 0)
        self._shows_media = False
        self._apart = False
        self._read: int | None = None

    def begin_with(self, opening: Stretch, apart: bool = False) -> None:
        """Begin with the content of another stretch; text behind it is encoded together with it, or apart."""
        self._apart = apart
        self._parts = [list(part) if isinstance(part, list) else part for part in opening._parts]
        self._images, self._shows_media = opening._images, opening._shows_media
        # Where the opening ends: a part, and a character of its run.
        self._mark = (len(self._parts), 0)
        if self._parts and isinstance(last := self._parts[-1], list):
            self._mark = (len(self._parts) - 1, sum(map(len, last)))

    def fixed(self, text: str) -> None:
        """Add a text of the layout."""
        if not text:
            return
        if self._parts and isinstance(last := self._parts[-1], list):
            last[-1:] = [last[-1], text] if self._apart else [last[-1] + text]
        else:
            self._parts.append([text])
        self._apart = False

    def token(self, token: str) -> None:
        """Add a special token."""
        self._parts.append((self._encoder.special(token), 0))

    def read_token(self, token: str) -> None:
        """Add the special token that is read."""
        self._read = len(self._parts)
        self.token(token)

    def add(self, pieces: Iterable[Piece]) -> None:
        """Add texts and special tokens of the layout."""
        for piece in pieces:
            if piece.kind == "token":
                self.token(piece.value)
            else:
                self.fixed(piece.value)

    def medium(self, number: int) -> None:
        """Add one medium. Its texts may be tokenised together with their neighbours, so they carry no medium number."""
        is_video = number in self._markup.videos
        self._shows_media = True
        self._images += not is_video
        for piece in self._markup.video if is_video else self._markup.image:
            if piece.kind == "index":
                self.fixed(str(self._images))
            elif piece.kind != "medium":
                self.add((piece,))
            else:
                for span in self._markup.media[number]:
                    if span.ids is None:
                        self.fixed(span.text)
                    else:
                        self._parts.append((span.ids, number + 1))

    def content(self, parts: Parts) -> None:
        """Add the texts and media of a turn or a response."""
        for place, part in enumerate(parts):
            if isinstance(part, int):
                self.medium(part)
                continue
            if place and isinstance(parts[place - 1], str):
                self.fixed(self._text_glue)
            first, *rest = self._encoder.pieces(part) if self._shares else (part,)
            self.fixed(first)
            if rest:
                run = self._parts[-1]
                assert isinstance(run, list)
                run += rest

    def texts(self) -> Iterable[str]:
        """Text pieces of the stretch."""
        return (piece for part in self._parts if isinstance(part, list) for piece in part)

    def tokens(self, encoded: Mapping[str, Encoded]) -> RowTokens:
        """Encode the stretch as tokens."""
        ids: list[Ids] = []
        numbers: list[tuple[int, int]] = []
        for part in self._parts:
            if isinstance(part, list):
                ids += [encoded[piece].ids for piece in part]
            else:
                ids.append(part[0])
            if self._shows_media:
                number, runs = (0, len(part)) if isinstance(part, list) else (part[1], 1)
                numbers += [(number, len(run)) for run in ids[len(ids) - runs :]]
        joined = np.concatenate(ids) if ids else np.zeros(0, np.int64)
        read = None if self._read is None else self._length(self._parts[: self._read], encoded)
        return RowTokens(joined, tuple(numbers) if numbers else ((0, len(joined)),), self._start(encoded), read)

    @staticmethod
    def _length(parts: Iterable[list[str] | tuple[Ids, int]], encoded: Mapping[str, Encoded]) -> int:
        """Number of tokens of some parts."""
        return sum(
            sum(len(encoded[piece].ids) for piece in part) if isinstance(part, list) else len(part[0]) for part in parts
        )

    def _start(self, encoded: Mapping[str, Encoded]) -> int:
        if self._mark == (0, 0):
            return 0
        place, character = self._mark
        start = self._length(self._parts[:place], encoded)
        if place < len(self._parts) and isinstance(run := self._parts[place], list):
            for piece in run:
                # The last piece holds the place, or the response is empty and stands beside a special token.
                if character < len(piece) or piece is run[-1]:
                    return start + encoded[piece].token_at(character)
                character -= len(piece)
                start += len(encoded[piece].ids)
        return start
