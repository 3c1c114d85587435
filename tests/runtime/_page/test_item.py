"""One request on the page: what is shown, and that nothing of a stranger's text is markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from yoj.runtime import (
    DimensionScores,
    Explanation,
    Image,
    LeftOutRegion,
    LeftOutSentence,
    Message,
    Request,
    ShownPicture,
)
from yoj.runtime._judgement import TokenCounts, judge
from yoj.runtime._page._item import Detail, PageItem, item
from yoj.runtime.packing import Truncation

DETAIL = Detail(200, 1000)
HOSTILE = (
    "</script></template><script>alert(1)</script><img src=x onerror='a()'> \"&<!-- \0\x07\x1b\x85\u202e\u2067\ud800"
)
JUDGEMENT = judge(np.array([1, 3], np.float32), 1.0, False, uncalibrated="no temperature was fitted")
REQUEST = Request("Which?", ["one. Or so.", "two"], [np.full((30, 60, 3), 90, np.uint8)])


class Page(HTMLParser):
    """Elements and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_responses_stand_in_order_with_bars(monkeypatch):
    html = item(PageItem(7, REQUEST, JUDGEMENT, rankings=[2, 1], id="seven"), DETAIL)
    assert re.findall(r">response (\d)<", html) == ["1", "0"]
    widths = [float(width) for width in re.findall(r'class="bar"><span style="width:([\d.]+)%', html)]
    np.testing.assert_allclose(widths, [100 * JUDGEMENT.probabilities[k] for k in (1, 0)], atol=0.01)
    assert 'id="line-7"' in html
    for told in ("seven", "88%", "given rank 1", "best as ranked", "margin 2.000", "no temperature was fitted"):
        assert told in html
    assert html.count("data:image/png;base64,") == 1


def test_what_was_read_otherwise_and_the_rest_of_a_judgement_is_told():
    judgement = replace(
        JUDGEMENT,
        mode="isolated",
        sigma=(0.5, 0.25),
        dimensions=(DimensionScores("helpful & kind", (0.5, 0.75)),),
        cuts=(Truncation(0, 900, 70),),
        notices=("the prompt holds <image>, read as plain text",),
        timings_ms={"scorer": 12.34},
        tokens=TokenCounts(60, 20, (4, 4), 9),
        batch=2,
    )
    one = PageItem(None, REQUEST, judgement, rationales=[{"response": 1, "text": "It <fits>.", "stopped": False}])
    text = Page(item(one, DETAIL)).text
    for told in (
        "read in isolated mode; the model was trained in joint mode", "± 0.250", "helpful & kind 0.750",
        "response 0 was cut from 900 to 70 characters", "the prompt holds <image>, read as plain text",
        "scorer 12.3 ms (vision, gather and scorer for a batch of 2 rows) · 60 tokens, of them 9 visual",
        "It <fits>. [cut]",
    ):  # fmt: skip
        assert told in text
    assert "scored in an earlier run" in item(replace(one, earlier=True), DETAIL)


def test_no_text_of_a_stranger_is_markup():
    hostile = Request(
        [Message("system", HOSTILE[:-1]), Message("user", HOSTILE[:-1])],
        [HOSTILE[:-1], [HOSTILE[:-1], Image("no/" + HOSTILE[:40])]],
    )
    plain = Request([Message("system", "a"), Message("user", "a")], ["a", ["a", Image("no/such.png")]])
    pages: list[Page] = []
    for request, text in ((hostile, HOSTILE), (plain, "a")):
        judgement = replace(JUDGEMENT, notices=(text,), dimensions=(DimensionScores(text, (1.0, 2.0)),))
        told = [{"response": 0, "text": text, "stopped": True}]
        one = PageItem(1, request, judgement, rationales=told, id=text, metadata={text: text}, unexplained=text)
        failed = PageItem(2, request, error=text, id=text)
        html = item(one, DETAIL) + item(failed, DETAIL)
        html.encode()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", html)
        pages.append(Page(html))
    assert pages[0].tags == pages[1].tags
    assert pages[0].handlers == pages[1].handlers == []
    assert "<script>alert(1)</script>" in pages[0].text
    assert "␀␇␛\ufffd[U+202E][U+2067]" in pages[0].text


@pytest.mark.parametrize(
    "request_", [None, Request("Why?", ["a"], images=[b"no picture"]), Request("Why <image>?", ["a"])]
)
def test_a_failed_line_shows_its_error(request_):
    html = item(PageItem(3, request_, error="It <b>failed</b>."), DETAIL)
    assert "It &lt;b&gt;failed&lt;/b&gt;." in html
    assert 'class="item failed" id="line-3"' in html
    assert "P(best)" not in html


def explanation() -> Explanation:
    sentences = (
        LeftOutSentence((1.0, 3.0), 2.0, 0.5, 0, 0, 0, 5, "one. "),
        LeftOutSentence((1.0, 3.0), 2.0, -1.0, 0, 0, 5, 11, "Or so."),
        LeftOutSentence((1.0, 3.0), 2.0, 0.0, 1, 0, 0, 3, "two"),
    )
    regions = tuple(LeftOutRegion((1.0, 3.0), 2.0, effect, 0, (0, 0, 1, 1)) for effect in (0.1, -0.2))
    picture = ShownPicture("images[0]", 0, None, (30, 60), (1, 2))
    return Explanation(JUDGEMENT, sentences, regions, (picture,), 6, ("a <notice>",))


def test_sentences_and_regions_have_the_colour_of_their_effect():
    html = item(PageItem(None, REQUEST, JUDGEMENT, explanation=explanation()), DETAIL)
    marks = re.findall(r'<mark class="(\w+)" style="--weight:([\d.]+)"[^>]*>([^<]*)', html)
    assert marks == [("for", "0.000", "two"), ("for", "0.500", "one."), ("against", "1.000", "Or so.")]
    assert '<div class="cells" style="--rows:1;--columns:2">' in html
    assert re.findall(r'<i class="(\w+)" style="--weight:([\d.]+)"', html) == [("for", "0.500"), ("against", "1.000")]
    assert "<b>-0.20</b>" in html
    assert "a &lt;notice&gt;" in html
    assert "explained with 6 packs" in html


def test_a_text_is_whole_whether_explained_or_not():
    for one in (PageItem(None, REQUEST, JUDGEMENT), PageItem(None, REQUEST, JUDGEMENT, explanation=explanation())):
        text = re.sub(r"<sup>[^<]*</sup>", "", item(one, DETAIL))
        assert "one. Or so." in Page(text).text


def test_an_empty_response_is_called_that():
    html = item(PageItem(None, replace(REQUEST, responses=["", "two"]), JUDGEMENT, explanation=explanation()), DETAIL)
    assert "an empty response" in html
