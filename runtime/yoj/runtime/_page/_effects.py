"""Effects of an explanation as colours: of sentences, and over pictures."""

from __future__ import annotations

from collections.abc import Iterator

from .._explanation import Explanation, LeftOut, LeftOutSentence
from ._markup import quoted


class Effects:
    """Effects of one explanation, strongest of each kind in full colour."""

    def __init__(self, explanation: Explanation, letters: int):
        """Take the explanation, and the most characters of a text that are shown."""
        self._explanation = explanation
        self._letters = letters
        self._sentence_at_top = max(explanation.sentences, key=_strength, default=None)
        self._region_at_top = max(explanation.regions, key=_strength, default=None)
        self._first = explanation.judgement.duplicates

    def text(self, response: int, part: int, text: str) -> str:
        """Text of a part of a response, each sentence in its colour."""
        read_as = self._first[response] if self._first else response
        spans: list[str] = []
        end = 0
        for one in self._explanation.sentences:
            if (one.response, one.part) == (read_as, part) and one.begin < self._letters:
                spans.append(self._sentence(one, text))
                end = one.end
        rest = quoted(text[end:]) if end < self._letters else " …"
        return f'<p class="text" dir="auto">{"".join(spans)}{rest}</p>'

    def _sentence(self, one: LeftOutSentence, text: str) -> str:
        said = text[one.begin : one.end]
        kept = said.rstrip()
        told = f"{one.effect:+.4f} of the lead of response {one.response}"
        colour = _colour(one, self._sentence_at_top)
        label = f"<sup>{one.effect:+.2f}</sup>" if one is self._sentence_at_top and one.effect else ""
        return f'<mark {colour} title="{told}">{quoted(kept)}{label}</mark>{quoted(said[len(kept) :])}'

    def picture_of(self, medium: int) -> int | None:
        """Index of a medium among the explained pictures; None where no regions of it were covered."""
        pictures = self._explanation.pictures
        return next((place for place, one in enumerate(pictures) if one.medium == medium), None)

    def cells(self, picture: int) -> str:
        """Grid of colours over a picture."""
        rows, columns = self._explanation.pictures[picture].grid
        cells = "".join(self._cells(picture))
        return f'<div class="cells" style="--rows:{rows};--columns:{columns}">{cells}</div>'

    def _cells(self, picture: int) -> Iterator[str]:
        best = self._explanation.judgement.best
        for one in self._explanation.regions:
            if one.picture != picture:
                continue
            told = f"{one.effect:+.4f} of the lead of response {best}"
            label = f"<b>{one.effect:+.2f}</b>" if one is self._region_at_top and one.effect else ""
            yield f'<i {_colour(one, self._region_at_top)} title="{told}">{label}</i>'


def _strength(one: LeftOut) -> float:
    return abs(one.effect)


def _colour(one: LeftOut, top: LeftOut | None) -> str:
    """Class and weight, from 0 to 1, of the colour of an effect."""
    weight = _strength(one) / _strength(top) if top is not None and top.effect else 0.0
    return f'class="{"for" if one.effect >= 0 else "against"}" style="--weight:{weight:.3f}"'
