"""One request as an element of the page: what was asked, what the judge made of it, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._explanation import Explanation
from .._judgement import Judgement
from ..error_texts import shorten
from ..errors import YojError
from ..request import Request
from ..script import Parts, Script, script_of
from ..thumbnails import LOSSLESS, Missing, Thumbnail, thumbnails
from ._effects import Effects
from ._markup import element, paragraph, quoted

ENLARGED = 256
"""Pixels on a screen of the longest side of a picture that is smaller."""


@dataclass(frozen=True)
class Detail:
    """Detail in which requests are shown."""

    side: int
    """Longest side of pictures in pixels."""
    letters: int
    """Most characters of a text."""
    whole: bool = True
    """Whether small pictures are kept without loss, and all numbers are told."""


@dataclass(frozen=True)
class PageItem:
    """Request of the page, and what came of it."""

    number: int | None = None
    """Number of its line; None for a request that is no line of a file."""
    request: Request | None = None
    """Request; None where the line holds none."""
    judgement: Judgement | None = None
    """Judgement; None where there is an error."""
    error: str | None = None
    line: str | None = None
    """Text of a line that holds no request."""
    explanation: Explanation | None = None
    unexplained: str | None = None
    """Reason why there is no explanation though it was asked for."""
    rankings: Sequence[float] | None = None
    """[N] ranks that the file gives, 1 = best."""
    rationales: Sequence[Mapping[str, Any]] = field(default_factory=tuple[Mapping[str, Any], ...])
    """Rationales as the results have them."""
    id: str | int | None = None
    metadata: Any = None
    earlier: bool = False
    """Whether an earlier run scored it, so that its timings are not known."""


def item(one: PageItem, detail: Detail) -> str:
    """Element of a request."""
    shown = _Item(one, detail)
    name = "Request" if one.number is None else f"Line {one.number}"
    anchor = "" if one.number is None else f' id="line-{one.number}"'
    failed = " failed" if one.judgement is None else ""
    about = element("span", one.id, "id") if one.id is not None else ""
    return (
        f'<article class="item{failed}"{anchor}>\n<header><h2>{name}</h2>{about}{shown.chips()}</header>\n'
        f'<div class="columns"><section class="asked">{shown.asked()}</section>\n'
        f'<section class="answers">{shown.answers()}</section></div>\n{shown.foot()}</article>\n'
    )


class _Item:
    def __init__(self, one: PageItem, detail: Detail):
        self._one, self._detail = one, detail
        self._effects = Effects(one.explanation, detail.letters) if one.explanation is not None else None
        self._script: Script | None = None
        self._unreadable = ""
        try:
            self._script = script_of(one.request) if one.request is not None else None
        except YojError as error:
            self._unreadable = str(error)

    def chips(self) -> str:
        """Outcome in a few words."""
        judged, right = self._one.judgement, ""
        if judged is None:
            return element("span", "failed", "chip bad")
        if (ranks := self._one.rankings) and len({*ranks}) > 1:
            hit = ranks[judged.best] == min(ranks)
            right = element(
                "span", "best as ranked" if hit else "not the best-ranked", f"chip {'good' if hit else 'bad'}"
            )
        margin = "" if judged.margin is None else element("span", f"margin {judged.margin:.3f}", "chip")
        return f"{right}{margin}{element('span', f'{judged.mode} mode', 'chip')}"

    def asked(self) -> str:
        """Prompt with its media."""
        if self._script is None:
            unreadable = self._unreadable and f"The request cannot be shown: {self._unreadable}"
            return paragraph(unreadable or shorten(self._one.line or "", self._detail.letters))
        turns = self._script.turns
        return "\n".join(
            (element("h4", turn.role) if len(turns) > 1 else "") + "".join(self._parts(turn.parts, None))
            for turn in turns
        )

    def answers(self) -> str:
        """Responses, best first, or the error and the responses as they were given."""
        script, judged = self._script, self._one.judgement
        error = f'<p class="error" dir="auto">{quoted(self._one.error or "")}</p>' if judged is None else ""
        if script is None:
            return error
        order = range(len(script.responses)) if judged is None else judged.best_first
        head = "" if judged is None else '<p class="head"><span>rank</span><span>P(best)</span></p>'
        cards = "\n".join(self._card(index, script.responses[index]) for index in order)
        return f"{error}{head}<ol>{cards}</ol>"

    def _card(self, index: int, parts: Parts) -> str:
        judged = self._one.judgement
        said = "".join(self._parts(parts, index)) or '<p class="faint">an empty response</p>'
        told = "".join(self._rationales(index))
        if judged is None:
            return (
                f'<li class="card"><div class="line">{element("span", f"response {index}", "faint")}</div>{said}</li>'
            )
        best = " best" if judged.ranks[index] == 1 else ""
        chance = judged.probabilities[index]
        bar = f'<div class="bar"><span style="width:{100 * chance:.2f}%"></span></div>'
        facts = "".join(element("span", fact, "faint") for fact in self._facts(judged, index))
        return (
            f'<li class="card{best}"><div class="line"><b class="rank">{judged.ranks[index]}</b>{bar}'
            f'<b class="chance">{_percent(chance)}</b></div>\n'
            f'<div class="facts">{facts}{_dimensions(judged, index)}</div>{said}{told}</li>'
        )

    def _facts(self, judged: Judgement, index: int) -> Iterator[str]:
        yield f"response {index}"
        sigma = "" if judged.sigma is None else f" ± {judged.sigma[index]:.3f}"
        yield f"score {judged.scores[index]:.3f}{sigma}"
        if judged.order_spread is not None:
            yield f"moved by {judged.order_spread[index]:.3f} with the order"
        if self._one.rankings:
            yield f"given rank {self._one.rankings[index]:g}"
        if judged.duplicates and judged.duplicates[index] != index:
            yield f"the same as response {judged.duplicates[index]}"

    def _rationales(self, index: int) -> Iterator[str]:
        for one in self._one.rationales:
            if one.get("response") == index:
                cut = "" if one.get("stopped", True) else " [cut]"
                yield f'<blockquote dir="auto">{quoted(one.get("text", ""))}{cut}</blockquote>'

    def _parts(self, parts: Parts, response: int | None) -> Iterator[str]:
        for place, part in enumerate(parts):
            if isinstance(part, int):
                yield f'<div class="media">{"".join(self._medium(part))}</div>'
            elif self._effects is not None and response is not None and part.strip():
                yield self._effects.text(response, place, part)
            else:
                yield paragraph(shorten(part, self._detail.letters))

    def _medium(self, number: int) -> Iterator[str]:
        assert self._script is not None
        picture = None if self._effects is None else self._effects.picture_of(number)
        detail = self._detail
        for one in thumbnails(
            self._script.media[number], self._script.names[number], detail.side, LOSSLESS if detail.whole else 0
        ):
            if isinstance(one, Missing):
                told = one.name if one.reason in (self._one.error or "") else one.text  # an error is said once
                yield element("p", told, "missing")
            elif self._effects is None or picture is None:
                yield f"<figure>{_frame(one, '')}{_caption(one)}</figure>"
            else:
                key = f"heat-{self._one.number or 0}-{number}"
                switch = f'<input type="checkbox" id="{key}" checked>'
                label = f'<label for="{key}">heat map</label>'
                frame = _frame(one, self._effects.cells(picture))
                yield f'<figure class="heat">{switch}{frame}{_caption(one, label)}</figure>'

    def foot(self) -> str:
        """Foot of the element: how the request was read, how long it took, and all numbers."""
        one, judged = self._one, self._one.judgement
        remarks = [] if judged is None else [f"probabilities {judged.calibration()}", *judged.remarks()]
        remarks += [f"no explanation: {one.unexplained}"] if one.unexplained else []
        remarks += [f"explanation: {notice}" for notice in (one.explanation.notices if one.explanation else ())]
        lines = "".join(f'<li dir="auto">{quoted(remark)}</li>' for remark in remarks)
        metadata = "" if one.metadata is None else shorten(json.dumps(one.metadata, ensure_ascii=False), 1000)
        return "".join(
            [
                f'<ul class="remarks">{lines}</ul>\n' if lines else "",
                f'<p class="faint" dir="auto">metadata {quoted(metadata)}</p>\n' if metadata else "",
                "" if judged is None else f'<p class="faint">{quoted(_times(judged, one.earlier))}</p>\n',
                self._numbers(),
            ]
        )

    def _numbers(self) -> str:
        if self._one.judgement is None or self._script is None or not self._detail.whole:
            return ""
        texts = [" ".join(part for part in parts if isinstance(part, str)) for parts in self._script.responses]
        told = self._one.judgement.table(texts)
        told += f"\n\n{self._one.explanation}" if self._one.explanation is not None else ""
        return f"<details><summary>All numbers</summary><pre>{quoted(told)}</pre></details>\n"


def _percent(chance: float) -> str:
    return f"{chance:.0%}" if 0.01 <= chance <= 0.99 or chance in (0, 1) else f"{chance:.1%}"


def _dimensions(judged: Judgement, index: int) -> str:
    """Scores in each dimension, as small bars between the lowest and the highest of the responses."""
    shown: list[str] = []
    for one in judged.dimensions:
        low, high = min(one.scores), max(one.scores)
        share = (one.scores[index] - low) / (high - low) if high > low else 1.0
        bar = f'<span class="small"><span style="width:{100 * share:.1f}%"></span></span>'
        shown.append(f'<span class="dimension">{quoted(one.name)} {one.scores[index]:.3f}{bar}</span>')
    return "".join(shown)


def _times(judged: Judgement, earlier: bool) -> str:
    if earlier or not judged.timings_ms:
        return "scored in an earlier run, whose times are not known"
    phases = " · ".join(f"{name} {value:.1f} ms" for name, value in judged.timings_ms.items())
    batch = f" (vision, gather and scorer for a batch of {judged.batch} rows)" if judged.batch > 1 else ""
    tokens = "" if judged.tokens is None else f" · {judged.tokens.row} tokens, of them {judged.tokens.visual} visual"
    return f"{phases}{batch}{tokens}"


def _frame(one: Thumbnail, cells: str) -> str:
    width, height = one.shown
    small = max(width, height) < ENLARGED
    shown = round(width * ENLARGED / max(width, height)) if small else width
    kind = ' class="pixels"' if max(width, height) <= ENLARGED // 2 else ""
    return (
        f'<div class="frame" style="width:{shown}px"><img{kind} alt="{quoted(one.name)}" src="{one.url}" '
        f'width="{width}" height="{height}">{cells}</div>'
    )


def _caption(one: Thumbnail, label: str = "") -> str:
    shrunk = "" if one.shown == one.size else f", shown at {one.shown[0]} × {one.shown[1]}"
    return f"<figcaption>{quoted(one.name)} · {one.size[0]} × {one.size[1]}{shrunk}{label}</figcaption>"
