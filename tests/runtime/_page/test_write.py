"""yoj-score --html and --explain: for one request, for files with failures, and across runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from commands import run_here

IMAGES = Path(__file__).parents[2] / "golden" / "data" / "images"
HOSTILE = "</script><script>alert('x')</script>"


@pytest.fixture
def requests(tmp_path):
    lines = [
        {
            "prompt": "What is shown?",
            "image": "odd_small.png",
            "responses": ["A ball. Or so.", "Two."],
            "rankings": [1, 2],
        },
        {"prompt": "Broken", "image": f"no{HOSTILE}.png", "responses": ["a", "b"], "id": HOSTILE},
        {"prompt": HOSTILE, "responses": [HOSTILE, "No."], "metadata": HOSTILE},
    ]
    file = tmp_path / "requests.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + "no JSON\n", "utf-8")
    (tmp_path / "odd_small.png").write_bytes((IMAGES / "odd_small.png").read_bytes())
    return file


def test_the_page_of_one_request(bundle, tmp_path):
    page = tmp_path / "one.html"
    words = ["--image", IMAGES / "odd_small.png", "--prompt", "What?", "--response", "A. So it is.", "--response", "B."]
    done = run_here("yoj-score", bundle("merged", "assistant"), *words, "--explain", "--html", page, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["explanation"]
    assert [one["text"] for one in told["sentences"]] == ["A. So it is.", "B."]
    assert told["passes"] == 1 + 2 + len(told["regions"])
    text = page.read_text("utf-8")
    assert f"page of 1 request written: {page}, " in done.stderr
    assert text.count("<mark ") == 4  # two of them in the legend
    assert text.count("<i class=") == len(told["regions"])


def test_without_a_page_the_explanation_is_printed(bundle):
    words = ["--prompt", "What?", "--response", "So. Or so.", "--response", "B.", "--explain"]
    done = run_here("yoj-score", bundle("merged", "assistant"), *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("P(best)") < done.stdout.index("lead of its response") < done.stdout.index("4 packs")


def test_failed_lines_are_on_the_page_with_their_errors(requests, bundle, tmp_path):
    page = tmp_path / "page.html"
    out = tmp_path / "scores.jsonl"
    words = [requests, "--out", out, "--html", page, "--explain"]
    assert run_here("yoj-score", bundle("merged", "assistant"), *words).returncode == 1
    assert len(out.read_bytes().splitlines()) == 4
    assert b"explanation" not in out.read_bytes()
    text = page.read_text("utf-8")
    assert re.findall(r'class="item( failed)?" id="line-(\d)"', text) == [
        ("", "1"), (" failed", "2"), ("", "3"), (" failed", "4"),
    ]  # fmt: skip
    errors = ("no file", "The request is not JSON", ">no JSON</p>")
    for told in ("2 of 4 requests scored", "line 2</a>", "with rankings", *errors):
        assert told in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert text.count("<script>") == 1


def test_lines_of_an_earlier_run_are_on_the_page(requests, bundle, tmp_path):
    out, page = tmp_path / "scores.jsonl", tmp_path / "page.html"
    run_here("yoj-score", bundle("merged", "assistant"), requests, "--out", out)
    before = out.read_bytes()
    run_here("yoj-score", bundle("merged", "assistant"), requests, "--out", out, "--html", page)
    text = page.read_text("utf-8")
    assert text.count("<article ") == 4
    assert text.count("scored in an earlier run") == 2
    assert sorted(out.read_bytes().splitlines()) == sorted(before.splitlines())


def test_a_request_that_cannot_be_explained_is_shown_all_the_same(bundle, tmp_path):
    file, page = tmp_path / "long.jsonl", tmp_path / "page.html"
    file.write_text(json.dumps({"prompt": "Why?", "responses": ["So.\n" * 600, "No."]}) + "\n", "utf-8")
    words = [file, "--out", tmp_path / "scores.jsonl", "--html", page, "--explain"]
    done = run_here("yoj-score", bundle("merged", "assistant"), *words)
    assert done.returncode == 0, done.stderr
    assert "no explanation: The explanation leaves out 601 sentences" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{file}", "--explain"], "give --html too"),
        (["{file}", "--html", "{page}", "--n-method", "knockout"], "which knockout has not"),
        (["{file}", "--html", "{page}", "--out", "{page}"], "name one file"),
        (["{file}", "--html", "{page}", "--best", "--out", "{folder}/"], "or one file of JSON lines"),
        (["{file}", "--html", "{page}", "--keep", "prompt", "--out", "{folder}/o.jsonl"], "(--keep, --rename,"),
        (["{file}", "--html", "-"], "--html - is no file"),
        (["{folder}", "--explain", "--out", "{folder}/out"], "or one file of JSON lines"),
        (["--prompt", "p", "--response", "r", "--explain", "--dump-inputs", "{folder}/d"], "leave --explain out"),
        (["{file}", "--html", "{file}"], "something else than a page"),
        (["{file}", "--html", "{folder}/none/page.html"], "there is no folder"),
    ],
)
def test_what_does_not_go_together_is_refused(words, told, requests, tmp_path):
    names = {"file": requests, "page": tmp_path / "page.html", "folder": tmp_path}
    before = requests.read_bytes()
    done = run_here("yoj-score", tmp_path / "no-bundle", *(word.format(**names) for word in words))
    assert done.returncode in (1, 2)
    assert told in " ".join(done.stderr.split())
    assert requests.read_bytes() == before
    assert not (tmp_path / "page.html").exists()
