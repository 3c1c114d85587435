"""The picture of the method: a request is packed, read jointly or in isolation, and N scores are read out.

python -m experiments.method_picture docs/images
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import click

WIDTH, HEIGHT, MARGIN = 720, 570, 24
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
TITLE, TEXT = 20, 17
"""Sizes of letters, of which those of the text are 9 pixels high on a phone, where the picture is 390 wide."""
CELL = 14
"""Side of a token in the pictures of attention."""
MEANING = (
    "A request is one row of tokens: the picture's features, the prompt and N responses with separators between them. "
    "One forward pass reads it jointly, each response after those before it, or in isolation, each behind the prompt "
    "alone. The value head gives a score at the end of each response. Visual features are kept for later requests."
)


@dataclass(frozen=True)
class Theme:
    """Colours of a picture; those of tokens follow Okabe and Ito, whose palette colour-blind readers tell apart."""

    name: str
    ground: str
    ink: str
    faint: str
    """Colour of lines, empty cells and what is said beside."""
    kinds: tuple[str, str, str, str, str]
    """Colours of the picture, the prompt and three responses."""


LIGHT = Theme("light", "#ffffff", "#1f2328", "#656d76", ("#56b4e9", "#0072b2", "#d55e00", "#009e73", "#a8558a"))
DARK = Theme("dark", "#0d1117", "#e6edf3", "#9198a1", ("#7cc7f2", "#4a9fe0", "#f0883e", "#2fc08f", "#d48fbd"))


@dataclass(frozen=True)
class Block:
    """Run of tokens of the row."""

    kind: int
    words: str
    left: int
    width: int
    tokens: int
    """Number of its tokens in the pictures of attention, where picture and prompt are one."""


PICTURE = Block(0, "picture", 24, 104, 0)
PROMPT = Block(1, "What is shown?", 132, 148, 4)
RESPONSES = (
    Block(2, "A cat.", 292, 120, 2),
    Block(3, "A dog.", 434, 120, 2),
    Block(4, "A parrot.", 576, 120, 2),
)
NAMES, SCORES = ("1", "2", "N"), (1.8, 0.6, -0.7)
ROW = 168
"""Top of the row of tokens."""
ROW_HEIGHT = 44


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write method-light.svg and method-dark.svg into FOLDER."""
    for theme in (LIGHT, DARK):
        (folder / f"method-{theme.name}.svg").write_text(draw(theme), "utf-8")


def draw(theme: Theme) -> str:
    """Draw the picture.

    Args:
        theme: its colours.

    Returns:
        An SVG document that refers to nothing outside it.
    """
    parts = [*_pack(theme), *_pass(theme), *_scores(theme)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="{FONTS}" font-size="{TEXT}" fill="{theme.ink}" role="img" aria-labelledby="title about">\n'
        f'<title id="title">N answers, one pass</title>\n<desc id="about">{escape(MEANING)}</desc>\n'
        f"{_box(0, 0, WIDTH, HEIGHT, 12, fill=theme.ground)}\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _pack(theme: Theme) -> Iterator[str]:
    """Row of tokens, and where the picture's come from."""
    yield _title(36, "1. Pack: one request is one row of tokens")
    middle = PICTURE.left + PICTURE.width // 2
    yield from _cat(theme, middle, 83)
    yield _arrow(theme, middle, 112, middle, 126)
    yield _box(
        PICTURE.left, 128, PICTURE.width, 26, 6, fill="none", stroke=theme.kinds[0], **{"stroke-dasharray": "5 3"}
    )
    yield _text(middle, 146.5, "features", anchor="middle")
    yield _text(PROMPT.left + 4, 90, "A picture is encoded once. Its features are kept:", fill=theme.faint)
    yield _text(PROMPT.left + 4, 112, "one that comes again is not encoded again.", fill=theme.faint)
    yield _arrow(theme, middle, 154, middle, ROW - 2)
    for block in (PICTURE, PROMPT, *RESPONSES):
        yield from _block(theme, block)
    for name, response in zip(NAMES, RESPONSES, strict=True):
        yield _text(response.left, ROW - 9, f"response {name}", fill=theme.kinds[response.kind], weight="600")
    for before in RESPONSES[:-1]:
        left = before.left + before.width + 5
        yield _box(left, ROW, 12, ROW_HEIGHT, 3, fill=theme.faint)
    below = ROW + ROW_HEIGHT + 10
    yield from _bracket(theme, PICTURE.left, PROMPT.left + PROMPT.width, below, "read once for all N")
    gap = RESPONSES[0].left + RESPONSES[0].width + 11
    yield _arrow(theme, gap, below + 16, gap, below - 4)
    yield _text(gap, below + 32, "separator", anchor="middle", fill=theme.faint)


def _pass(theme: Theme) -> Iterator[str]:
    """Attention in either mode: the tokens that each token sees."""
    top, half = 316, WIDTH // 2
    yield _title(294, "2. One forward pass, in the mode the judge was trained in")
    words = {
        "joint": ("A response sees", "those before it,", "and is compared", "with them."),
        "isolated": ("A response sees", "no other: scores", "of N single passes,", "all at once."),
    }
    for left, (mode, lines) in zip((MARGIN, half + 6), words.items(), strict=True):
        yield from _mask(theme, left, top, mode == "isolated")
        beside = left + 24 + CELL * 10 + 16
        yield _text(beside, top + 16, mode, weight="700", size=TITLE - 1)
        for number, line in enumerate(lines):
            yield _text(beside, top + 44 + 23 * number, line)


def _mask(theme: Theme, left: int, top: int, isolated: bool) -> Iterator[str]:
    """Square of attention: rows are tokens that see, columns what they see."""
    blocks = (PROMPT, *RESPONSES)
    owners = [block for block in blocks for _ in range(block.tokens)]
    x, y = left + 24, top
    for name, block in zip(("prompt", *NAMES), blocks, strict=True):
        middle = y + CELL * block.tokens / 2
        upright = block is not PROMPT
        turned = {} if upright else {"turn": f"rotate(-90 {left + 16} {middle:g})", "size": 15}
        style = {"anchor": "middle", "fill": theme.kinds[block.kind], **turned}
        yield _text(left + 16, middle + 6 * upright, name, **style)
        y += CELL * block.tokens
    for row, reader in enumerate(owners):
        for column, seen in enumerate(owners):
            sees = column <= row and (not isolated or seen in (PROMPT, reader))
            shade = {"fill": theme.kinds[seen.kind]} if sees else {"fill": theme.faint, "opacity": "0.13"}
            yield _box(x + CELL * column + 1, top + CELL * row + 1, CELL - 2, CELL - 2, 2, **shade)


def _scores(theme: Theme) -> Iterator[str]:
    """Score and probability of each response, below its tokens."""
    top = 496
    yield _title(top, "3. Read out: N scores")
    yield _text(MARGIN, top + 33, "at each response's last token:", fill=theme.faint)
    yield _text(MARGIN, top + 55, "score, and P(best)", fill=theme.faint)
    most = math.fsum(map(math.exp, SCORES))
    for response, score in zip(RESPONSES, SCORES, strict=True):
        best = math.exp(score) / most
        weight = "700" if score == max(SCORES) else "400"
        yield _text(response.left, top + 33, _number(score), size=TITLE, weight=weight)
        yield _text(response.left + response.width, top + 33, f"{best:.0%}", anchor="end", weight=weight)
        yield _box(response.left, top + 43, response.width, 14, 4, fill=theme.faint, opacity="0.18")
        yield _box(response.left, top + 43, round(response.width * best), 14, 4, fill=theme.kinds[response.kind])


def _block(theme: Theme, block: Block) -> Iterator[str]:
    colour = theme.kinds[block.kind]
    yield _box(block.left, ROW, block.width, ROW_HEIGHT, 6, fill=colour, **{"fill-opacity": "0.18", "stroke": colour})
    yield _text(block.left + block.width / 2, ROW + 28, block.words, anchor="middle")
    if block in RESPONSES:  # the token that is read out
        yield _box(block.left + block.width - 10, ROW + 5, 5, ROW_HEIGHT - 10, 2, fill=colour)


def _cat(theme: Theme, x: int, y: int) -> Iterator[str]:
    """Picture that is judged: a cat."""
    yield _box(x - 36, y - 29, 72, 56, 8, fill=theme.kinds[0], **{"fill-opacity": "0.25", "stroke": theme.kinds[0]})
    yield f'<path d="M{x - 17} {y + 2} v-21 l11 9 h12 l11 -9 v21 a17 15 0 0 1 -34 0z" fill="{theme.kinds[2]}"/>'
    for side in (-7, 7):
        yield f'<circle cx="{x + side}" cy="{y - 1}" r="2.4" fill="{theme.ground}"/>'
    yield f'<path d="M{x - 3} {y + 6} h6 l-3 3.5z" fill="{theme.ground}"/>'


def _bracket(theme: Theme, left: int, right: int, y: int, words: str) -> Iterator[str]:
    middle = (left + right) / 2
    yield f'<path d="M{left} {y - 4} v6 H{right} v-6 M{middle:g} {y + 2} v6" fill="none" stroke="{theme.faint}"/>'
    yield _text(middle, y + 26, words, anchor="middle", fill=theme.faint)


def _arrow(theme: Theme, *ends: float) -> str:
    x1, y1, x2, y2 = ends
    way = math.copysign(5, y2 - y1)
    return (
        f'<path d="M{x1:g} {y1:g} L{x2:g} {y2:g} m-4 {-way:g} l4 {way:g} l4 {-way:g}" fill="none" '
        f'stroke="{theme.faint}" stroke-width="1.5"/>'
    )


def _title(y: int, words: str) -> str:
    return _text(MARGIN, y, words, size=TITLE, weight="700")


def _number(score: float) -> str:
    return f"{score:+.1f}".replace("-", "−")


def _text(x: float, y: float, words: str, **style: str | int) -> str:
    names = {"anchor": "text-anchor", "weight": "font-weight", "size": "font-size", "turn": "transform"}
    attributes = _attributes({names.get(key, key): value for key, value in style.items()})
    return f'<text x="{x:g}" y="{y:g}"{attributes}>{escape(words)}</text>'


def _box(x: float, y: float, width: float, height: float, radius: int, **style: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}"{_attributes(style)}/>'


def _attributes(style: Mapping[str, str | int]) -> str:
    return "".join(f' {name}="{value}"' for name, value in style.items())


if __name__ == "__main__":
    main()
