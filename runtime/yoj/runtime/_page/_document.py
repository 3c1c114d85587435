"""Document around the requests: written piece by piece, in pages, and put in its place when it is whole."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from ..errors import RequestError
from ..version import __version__
from ._item import Detail, PageItem, item
from ._markup import element, quoted

PER_PAGE = 20
"""Requests that are shown at once."""
DETAILS = ((100, Detail(640, 20_000)), (1000, Detail(320, 5000)))
"""Most requests of a file -> the detail in which they are shown."""
LEAST = Detail(128, 2000, whole=False)
"""Detail of larger files."""
MOST_LISTED = 1000
"""Most failed lines that the head of the page names."""
BEGIN = "<!doctype html>\n<!-- page of yoj-score -->\n"
SIZE = "{:<16}"
"""Form of the document's size, which is known when it is written: its place is kept."""
LEGEND = (
    "Why: each sentence of the responses was left out, and each region of the pictures covered with the picture's mean "
    'colour. What is <mark class="for" style="--weight:.8">blue</mark> speaks for its response: without it the '
    "response's lead, its score less the highest of the others, is smaller. What is "
    '<mark class="against" style="--weight:.8">orange</mark> speaks against it. Regions count for the best response. '
    "The strongest effect of a request's sentences, and that of its regions, has full colour and its number: colours "
    "of texts do not compare with those of pictures. All numbers has every effect."
)


@dataclass(frozen=True)
class Heading:
    """Heading above all requests."""

    judge: str
    """Name of the bundle."""
    facts: Sequence[str]
    """Short facts about the run."""
    requests: int
    """Number of requests."""
    failed: Sequence[int] = ()
    """Numbers of the lines that failed."""
    explained: bool = False
    """Whether explanations were asked for."""


def check_place(file: Path) -> None:
    """Check that a page may be written here.

    Raises:
        RequestError: something else than such a page is there, or its folder is missing or cannot be written to.
    """
    if not file.parent.is_dir():
        raise RequestError(f"--html {file}: there is no folder {file.parent}. Make it first.")
    spare = _spare(file)
    try:
        spare.touch()
        spare.unlink()
    except OSError as error:
        raise RequestError(
            f"--html {file}: nothing can be written to {file.parent}: {error.strerror}. Choose another folder."
        ) from error
    if not file.exists():
        return
    if not file.is_file():
        raise RequestError(f"--html {file} is no plain file.")
    with file.open("rb") as stream:
        if stream.read(len(BEGIN)) not in (b"", BEGIN.encode()):
            raise RequestError(f"{file} holds something else than a page of yoj-score. Choose another file for --html.")


def write_page(file: Path, heading: Heading, items: Iterable[PageItem]) -> int:
    """Write a page. It takes the place of an older one when it is whole.

    Args:
        file: file to write.
        heading: heading above the requests.
        items: requests, in order of their lines.

    Returns:
        Size of the page in bytes.

    Raises:
        RequestError: see `check_place`.
    """
    check_place(file)
    spare = _spare(file)
    try:
        with spare.open("wb") as stream:
            size = _write(stream, heading, items)
        spare.replace(file)
    finally:
        spare.unlink(missing_ok=True)
    return size


def _spare(file: Path) -> Path:
    """File beside a page that becomes it when it is whole."""
    return file.with_name(f".{file.name}.{os.getpid()}.tmp")


def _write(stream: BinaryIO, heading: Heading, items: Iterable[PageItem]) -> int:
    detail = next((detail for most, detail in DETAILS if heading.requests <= most), LEAST)
    script = _part("page.js")
    before, after = _head(heading, detail, script).split(SIZE)
    place = stream.write(before.encode())
    stream.write(f"{SIZE.format('')}{after}".encode())
    rest, number = iter(items), 0
    while some := list(islice(rest, PER_PAGE)):
        number += 1
        first = some[0].number or 1
        begin, end = ('<div id="shown">', "</div>") if number == 1 else ("<template>", "</template>")
        stream.write(f'{begin[:-1]} data-page="{number}" data-first="{first}">\n'.encode())
        for one in some:
            stream.write(item(one, detail).encode())
        stream.write(f"{end}\n".encode())
    if not heading.requests:
        stream.write(b"<p>There are no requests.</p>\n")
    pages = -(-heading.requests // PER_PAGE)
    stream.write(f"{_pager(pages)}</main>\n<script>{script}</script>\n</body>\n</html>\n".encode())
    size = stream.tell()
    stream.seek(place)
    stream.write(SIZE.format(told_bytes(size)).encode())
    return size


def _head(heading: Heading, detail: Detail, script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    pages = -(-heading.requests // PER_PAGE)
    facts = "".join(element("li", fact) for fact in heading.facts)
    size = f"<li>this page: {SIZE}</li>"
    return (
        f'{BEGIN}<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Judgements of {quoted(heading.judge)}</title>\n<style>\n{_part('page.css')}</style>\n</head>\n<body>\n"
        f'<main>\n<header class="top"><h1>Judgements of <em>{quoted(heading.judge)}</em></h1>\n'
        f'<ul class="run">{facts}{size}</ul>\n{_failures(heading)}'
        f"{f'<p class=legend>{LEGEND}</p>' if heading.explained else ''}"
        f'<p class="faint">Pictures are copies of at most {detail.side} pixels a side, texts of at most '
        f"{detail.letters:,} characters. Written by yoj-score {__version__}; the page loads nothing.</p></header>\n"
        f"{_pager(pages)}"
    )


def _failures(heading: Heading) -> str:
    if not heading.failed:
        return ""
    links = ", ".join(f'<a href="#line-{number}">line {number}</a>' for number in heading.failed[:MOST_LISTED])
    more = f" and {len(heading.failed) - MOST_LISTED} more" if len(heading.failed) > MOST_LISTED else ""
    told = f"Failed: {links}{more}"
    if len(heading.failed) <= PER_PAGE:
        return f'<p class="failures">{told}</p>\n'
    return f'<details class="failures"><summary>{len(heading.failed):,} failed lines</summary>{told}</details>\n'


def _pager(pages: int) -> str:
    if pages < 2:
        return ""
    return (
        f'<nav class="pager" data-pages="{pages}" hidden><button data-to="1" title="first page">«</button>'
        '<button data-step="-1" title="page before">‹</button><span class="where"></span>'
        f'<button data-step="1" title="next page">›</button><button data-to="{pages}" title="last page">»</button>'
        '<label>line <input inputmode="numeric" size="6"></label></nav>\n'
        f'<noscript><p class="faint">Without JavaScript the first of {pages} pages is shown.</p></noscript>\n'
    )


def _part(name: str) -> str:
    return (files(__package__ or "") / name).read_text("utf-8")


def told_bytes(size: int) -> str:
    """Size as people read it."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"
