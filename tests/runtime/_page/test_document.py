"""The page as a file: paged, whole or not there, and never in the place of something else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from yoj.runtime import Request, RequestError
from yoj.runtime._judgement import judge
from yoj.runtime._page import PageItem, check_place
from yoj.runtime._page._document import PER_PAGE, Heading, write_page

import numpy as np  # isort: skip


def items(count: int) -> list[PageItem]:
    judgement = judge(np.array([1, 2], np.float32), 1.0, False)
    return [PageItem(number, Request("Which?", ["one", "two"]), judgement) for number in range(1, count + 1)]


def written(tmp_path, count: int, **heading) -> str:
    file = tmp_path / "page.html"
    size = write_page(file, Heading("judge.yoj", ["a fact"], count, **heading), items(count))
    assert size == file.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    return file.read_text("utf-8")


class Tags(HTMLParser):
    """Open elements at the end, and every attribute that loads something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in ("meta", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("count", [0, 1, PER_PAGE, PER_PAGE + 1, 3 * PER_PAGE])
def test_every_request_stands_on_one_page(count, tmp_path):
    text = written(tmp_path, count)
    assert [int(number) for number in re.findall(r'<article class="item" id="line-(\d+)"', text)] == [
        *range(1, count + 1)
    ]
    assert text.count("<template ") == max(0, -(-count // PER_PAGE) - 1)
    firsts = [int(number) for number in re.findall(r'data-first="(\d+)"', text)]
    assert firsts == [*range(1, count + 1, PER_PAGE)]
    assert text.count('<nav class="pager"') == (2 if count > PER_PAGE else 0)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.loads == []


def test_a_page_without_requests_says_so(tmp_path):
    assert "There are no requests." in written(tmp_path, 0)


def test_ten_thousand_requests_take_500_pages_and_the_page_says_its_size(tmp_path):
    text = written(tmp_path, 10_000)
    assert text.count("<template ") == 499
    megabytes = len(text.encode()) / 1e6
    assert f"this page: {megabytes:,.1f} MB" in text
    assert megabytes < 20
    assert "Without JavaScript the first of 500 pages is shown." in text


def test_failed_lines_are_named_with_links(tmp_path):
    text = written(tmp_path, 1, failed=range(1, 4))
    assert text.count('<a href="#line-') == 3
    assert "<summary>" not in text.split("<article")[0]
    many = written(tmp_path, 1, failed=range(1, 1011))
    assert many.count('<a href="#line-') == 1000
    assert "<summary>1,010 failed lines</summary>" in many
    assert "and 10 more" in many


def test_the_policy_allows_no_script_but_the_own_one(tmp_path):
    text = written(tmp_path, 1)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert re.fullmatch(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-[A-Za-z0-9+/=]{44}'", policy
    )


def test_a_page_takes_the_place_of_an_older_one_and_of_nothing_else(tmp_path):
    written(tmp_path, 2)
    assert "line-2" not in written(tmp_path, 1)
    other = tmp_path / "notes.html"
    other.write_text("<!doctype html>\n<p>mine", "utf-8")
    with pytest.raises(RequestError, match="something else than a page of yoj-score"):
        check_place(other)
    with pytest.raises(RequestError, match="no plain file"):
        check_place(tmp_path)
    with pytest.raises(RequestError, match="there is no folder"):
        check_place(tmp_path / "none" / "page.html")
    with pytest.raises(RequestError, match="nothing can be written to /proc: "):
        check_place(Path("/proc/page.html"))
    (tmp_path / "empty.html").touch()
    check_place(tmp_path / "empty.html")


def test_a_page_that_fails_half_way_leaves_the_older_one(tmp_path):
    before = written(tmp_path, 1)

    def failing():
        yield from items(1)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_page(tmp_path / "page.html", Heading("judge.yoj", [], 2), failing())
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text("utf-8") == before
