"""The report is one page that is well formed, loads nothing and believes no name."""

from __future__ import annotations

import math
import re
from collections import Counter
from html.parser import HTMLParser

import bench_results as made
import msgspec
import pytest

from yoj.bench import _plots as plots
from yoj.bench._report import report, write_report
from yoj.bench._results import MachineLimits, Sweep, Time

pytestmark = pytest.mark.slow

VOID = {"meta"}
HOSTILE = (
    '</text></svg><script src="http://a.example/x.js">alert("1")</script><img src=x onerror="y"> $\\frac{$ & \x1b _'
)


class Page(HTMLParser):
    """Tags in balance, ids, attributes, and the text under each heading."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.headings: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag in ("h1", "h2", "h3"):
            self.headings.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings[-1] += data


@pytest.fixture(scope="module")
def text():
    return report(made.results(made.judge(), made.judge("Molmo2, three layers")))


def hostile():
    one = made.judge(
        HOSTILE,
        variants=(made.variant(HOSTILE, 1.0, precision=HOSTILE), made.variant("_hidden", 2.0)),
        phases={HOSTILE: {HOSTILE: 1.0}},
        sweeps=(msgspec.structs.replace(made.sweep("N", (1, 2), "N"), name=HOSTILE),),
    )
    return made.results(one, environment={HOSTILE: HOSTILE, "nested": {"a": [HOSTILE]}})


@pytest.mark.slow
def test_tags_are_balanced_and_ids_unique(text):
    page = Page(text)
    assert page.open == []
    assert max(Counter(page.ids).values()) == 1
    assert page.tags.count("svg") == 14
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert referred
    assert referred <= set(page.ids)


@pytest.mark.slow
@pytest.mark.parametrize("make", [made.results, hostile])
def test_nothing_is_loaded_and_nothing_runs(make):
    page = Page(report(make()))
    assert page.open == []
    assert not {"script", "img", "link", "iframe", "object", "embed", "image", "foreignobject"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name != "src"
        if name.endswith("href"):
            assert value.startswith("#")
        assert all(target.startswith("#") for target in re.findall(r"url\(\s*['\"]?([^)]*)", value))
    assert "@import" not in page.text


@pytest.mark.slow
def test_hostile_names_are_shown_as_they_are():
    text = report(hostile())
    page = Page(text)
    assert "<script" not in text
    assert "\x1b" not in text
    assert page.text.count('<script src="http://a.example/x.js">') > 5
    assert "_hidden" in page.text
    assert "$\\frac{$ & _" in page.text


@pytest.mark.thorough
@pytest.mark.slow
def test_same_results_same_bytes(tmp_path, text):
    two = made.results(made.judge(), made.judge("Molmo2, three layers"))
    write_report(two, tmp_path / "new" / "report.html")
    assert (tmp_path / "new" / "report.html").read_bytes() == text.encode()
    assert "<dc:date>" not in text
    assert "matplotlib" not in text.lower()


@pytest.mark.slow
def test_ink_is_that_of_the_page(text):
    assert plots.INK not in text
    assert "currentColor" in text
    assert "prefers-color-scheme: dark" in text
    assert re.search(r"<text [^>]*>PyTorch</text>", text)


def test_all_parts_have_headings(text):
    headings = Page(text).headings
    assert headings[1:5] == [
        "Environment",
        "Limits of the machine",
        "Qwen3-VL, three layers",
        "Variants",
    ]
    assert headings.count("N varies (ms)") == 2
    assert "Under load" in headings


def test_empty_parts_leave_no_headings():
    nothing = MachineLimits(peaks=(), copied=0.0)
    page = Page(report(made.results(made.bare(), environment={}, limits=nothing)))
    assert page.headings == ["What yoj-bench found", "bare"]
    assert not {"svg", "table", "figure"} & set(page.tags)
    page = Page(report(made.results(made.judge(sweeps=(Sweep(name="N", points=()),), load=()))))
    assert not [h for h in page.headings if "varies" in h or "load" in h]


@pytest.mark.slow
def test_what_is_no_time_is_not_drawn():
    odd = Time(median=math.nan, low=math.nan, high=math.inf, runs=1)
    open_ended = Time(median=5.0, low=math.nan, high=math.inf, runs=1)
    swept = made.sweep("N", (1, 2), "N")
    points = tuple(msgspec.structs.replace(p, time=odd if p.x == 1 else open_ended) for p in swept.points)
    judge = made.judge(
        variants=(made.variant("lost", 1.0, time=odd), made.variant("yoj", 5.0, time=open_ended)),
        phases={"lost": {"scorer": math.nan}, "yoj": {"scorer": math.inf, "vision": 2.0}},
        savings=tuple(msgspec.structs.replace(s, engine=math.inf) for s in made.judge().savings),
        sweeps=(msgspec.structs.replace(swept, points=points),),
        load=tuple(msgspec.structs.replace(one, p99=math.nan) for one in made.judge().load),
    )
    page = Page(report(made.results(judge)))
    assert page.open == []
    assert plots.load(judge) is None
    drawn = plots.variants(judge)
    assert drawn is not None
    svg = plots.inline(drawn, "x")
    assert "yoj" in svg
    assert "lost" not in svg
    assert "nan" not in svg.lower()


def test_axes_are_logarithmic_beyond_a_factor_of_ten():
    from matplotlib.figure import Figure

    judge = made.judge()
    scales = []
    for found in judge.sweeps:
        plot = plots.sweep(judge, found)
        assert plot is not None
        figure = Figure()
        plot.draw(figure)
        (axis,) = figure.axes
        scales.append((axis.get_xscale(), axis.get_yscale()))
        assert axis.get_xlabel() == found.name
        assert "ms" in axis.get_ylabel()
        assert [t.get_text() for t in figure.legends[0].texts][-1] == "scores differ"
    assert scales == [("log", "log"), ("linear", "linear")]


def test_vendors_have_their_hues():
    looks = plots.styles(made.judge())
    for variant in made.judge().variants:
        assert looks[variant.name].colour in plots.HUES[variant.vendor]
    assert len({(style.colour, style.line) for style in looks.values()}) == len(looks)
