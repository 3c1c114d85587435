"""Rationales: no score depends on them, nothing is loaded before they are asked for, and bad input is refused."""

from __future__ import annotations

import functools
import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from commands import run_here
from rationales import FAMILIES, export, noise, requests_of, write_source

from yoj.runtime import Image, Request, Scorer
from yoj.runtime._rationale import Rationale, explained, greedy
from yoj.runtime.bundle import Bundle
from yoj.runtime.engines import open_session
from yoj.runtime.errors import (
    BundleError,
    EngineError,
    EngineMemoryError,
    LengthError,
    LimitError,
    MediaError,
    RequestError,
    ScoreError,
)

pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """judge(family, **options) -> path of a bundle."""

    @functools.cache
    def make(family: str, **options):
        folder = tmp_path_factory.mktemp(family)
        return export(write_source(family, folder / "checkpoint"), folder / "judge.yoj", **options)

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_same_bits_with_and_without(family, judge):
    plain, able = (Scorer.load(judge(family, language=language)) for language in (False, True))
    requests = [*requests_of().values()]
    before = [one.scores for one in plain.score_batch(requests)]
    assert [one.scores for one in able.score_batch(requests)] == before
    for request in requests:
        able.rationale(request, 0, max_tokens=3)
    assert [one.scores for one in able.score_batch(requests)] == before
    for name in ("vision", "scorer.joint", "scorer.segmented"):
        files = [(judge(family, language=language) / f"onnx/{name}.onnx").read_bytes() for language in (False, True)]
        assert files[0] == files[1]


def test_a_bundle_without_it_has_no_file_and_no_entry_of_it(judge):
    path = judge("qwen3_vl", language=False)
    assert "language" not in json.loads((path / "manifest.json").read_text("utf-8"))["engines"][0]["graphs"]
    assert not (path / "onnx" / "language.onnx").exists()


def test_the_graph_is_loaded_when_it_is_first_used(judge):
    scorer = Scorer.load(judge("qwen3_vl"))
    scorer.score("Which?", ["one", "two"])
    assert "language" not in scorer._session._sessions._opened
    scorer.rationale(Request("Which?", ["one", "two"]), 0, max_tokens=1)
    assert "language" in scorer._session._sessions._opened


def test_a_rationale_is_cut_at_the_most_tokens_and_says_so(judge):
    scorer = Scorer.load(judge("molmo2"))
    whole, cut = (scorer.rationale(requests_of()["text"], 0, max_tokens=most) for most in (7, 3))
    assert (len(whole.tokens), len(cut.tokens), cut.stopped) == (7, 3, False)
    assert whole.tokens[:3] == cut.tokens
    assert str(cut) == f"{cut.text} [cut after 3 tokens]"
    assert set(cut.timings_ms) == {"prepare", "read", "write"}


def test_a_token_that_ends_it_is_no_part_of_it(judge):
    scorer = Scorer.load(judge("molmo2"))
    request = requests_of()["text"]
    free = scorer.rationale(request, 0, max_tokens=8)
    language = msgspec.structs.replace(scorer.manifest.language, stop=(free.tokens[3],))
    bundle = replace(scorer._bundle, manifest=msgspec.structs.replace(scorer.manifest, language=language))
    again = Scorer(bundle, scorer.engine, scorer._session).rationale(request, 0, max_tokens=8)
    before = free.tokens[: free.tokens.index(free.tokens[3])]
    assert (again.tokens, again.stopped) == (before, True)
    assert str(again) == again.text == scorer._preparer.packer.encoder.decode_ids(before)


def test_without_a_number_it_is_the_bundles(judge):
    scorer = Scorer.load(judge("qwen3_vl"))
    language = msgspec.structs.replace(scorer.manifest.language, max_tokens=5, stop=())
    bundle = replace(scorer._bundle, manifest=msgspec.structs.replace(scorer.manifest, language=language))
    assert len(Scorer(bundle, scorer.engine, scorer._session).rationale(requests_of()["text"], 1).tokens) == 5


def test_greedy_takes_the_likeliest_until_the_end():
    steps = iter(np.eye(6, dtype=np.float32)[[2, 4, 1]])
    assert greedy(np.eye(6, dtype=np.float32)[3], lambda _: next(steps), 9, (1,)) == ([3, 2, 4], True)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(value):
    with pytest.raises(ScoreError, match=r"not finite after 0 tokens"):
        greedy(np.array([0.0, value], np.float32), lambda _: pytest.fail("read on"), 5, ())


def test_which_responses_are_explained():
    scores = (0.5, 2.0, -1.0, 2.0, -1.0)
    assert [explained(scores, which) for which in ("best", "worst", "all")] == [[1], [2], [0, 1, 2, 3, 4]]


def test_a_bundle_without_a_language_graph_says_how_to_get_one(judge):
    with pytest.raises(BundleError, match=r"no language graph.*Export the checkpoint again with --language"):
        Scorer.load(judge("qwen3_vl", language=False)).rationale(requests_of()["text"], 0)


def test_an_engine_without_one_names_the_engines_that_have_it(judge):
    bundle = Bundle.open(judge("qwen3_vl"))
    entry = bundle.engine()
    entry = msgspec.structs.replace(entry, graphs={r: g for r, g in entry.graphs.items() if r != "language"})
    scorer = Scorer(bundle, entry, open_session(bundle, entry, None))
    with pytest.raises(EngineError, match=r"has no language graph, of which no plans are built.*engine='onnxruntime'"):
        scorer.rationale(requests_of()["text"], 0)


@pytest.mark.parametrize("most", [0, -3, 2.0, True, "5"])
def test_a_number_of_tokens_that_is_none_is_refused(most, judge):
    with pytest.raises(RequestError, match=r"max_tokens is .*; give a whole number from 1"):
        Scorer.load(judge("qwen3_vl")).rationale(requests_of()["text"], 0, max_tokens=most)


@pytest.mark.parametrize(
    ("request_", "response", "kind", "words"),
    [
        (Request("Which?", ["one"]), 1, RequestError, "response is 1; the request has N=1 responses"),
        (Request("Which?", []), 0, RequestError, "no responses"),
        (Request("Which <image>?", ["one"]), 0, RequestError, "other frameworks"),
        (Request("Which?", [[Image(b"no picture")]]), 0, MediaError, r"responses\[0\]"),
        (Request("Which?", ["one"] * 65), 0, LimitError, "N=65"),
        (
            Request("Which? " * 3000, ["one"]),
            0,
            LengthError,
            "The row has L=.*, and 8 more are to be written; the limit",
        ),
        (Request("Which? " * 10**6, ["one"]), 0, LengthError, "too long to be read"),
    ],
)
def test_requests_are_refused_as_for_scores(request_, response, kind, words, judge):
    with pytest.raises(kind, match=words):
        Scorer.load(judge("qwen3_vl")).rationale(request_, response, max_tokens=8)


def test_tokens_to_come_count_for_the_limit(judge):
    scorer = Scorer.load(judge("qwen3_vl"))
    with pytest.raises(LengthError, match=r"and 4,096 more are to be written; the limit of this bundle is 4,096"):
        scorer.rationale(requests_of()["text"], 0, max_tokens=4096)


def test_attention_that_does_not_fit_into_memory_is_refused(judge, monkeypatch):
    scorer = Scorer.load(judge("qwen3_vl"))
    monkeypatch.setattr("yoj.runtime.engines.onnxruntime.free_memory", lambda: 10_000)
    with pytest.raises(EngineMemoryError, match=r"B=1 rows of L="):
        scorer.rationale(requests_of()["text"], 0)


@pytest.mark.thorough
def test_half_precision_writes_too(judge):
    fidelity = json.loads((judge("qwen3_vl", precision="float16", compare=True) / "fidelity.json").read_text("utf-8"))
    assert 0 < fidelity[0]["language"]["max_abs_diff"] < fidelity[0]["language"]["threshold"]


@pytest.mark.parametrize("which", ["best", "worst", "all"])
def test_the_command_adds_them_to_every_line(which, judge, tmp_path):
    file, out = tmp_path / "requests.jsonl", tmp_path / "scores.jsonl"
    lines = [{"prompt": "Which is red?", "responses": ["The cat.", "No.", "All."]}, {"prompt": "No", "responses": []}]
    file.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    path = judge("qwen3_vl")
    done = run_here("yoj-score", path, file, "--out", out, "--rationale", which)
    assert done.returncode == 1, done.stderr
    told, failed = (json.loads(line) for line in out.read_text("utf-8").splitlines())
    assert "error" in failed
    ranked = sorted(range(3), key=lambda k: -told["scores"][k])
    expected = {"best": ranked[:1], "worst": ranked[-1:], "all": [0, 1, 2]}[which]
    assert [one["response"] for one in told["rationales"]] == expected
    scorer = Scorer.load(path)
    first = scorer.rationale(Request("Which is red?", ["The cat.", "No.", "All."]), expected[0])
    assert told["rationales"][0] == {"response": expected[0], "text": first.text, "stopped": first.stopped}
    other = run_here("yoj-score", path, file, "--out", out)
    assert "rationale or placeholders setting" in other.stderr


def test_the_command_writes_those_of_one_request(judge):
    words = ["yoj-score", judge("qwen3_vl"), "--prompt", "Which?", "--response", "one", "--response", "two"]
    words += ["--rationale", "all"]
    told = run_here(*words)
    assert "response 0: " in told.stdout
    assert "response 1: " in told.stdout
    as_json = json.loads(run_here(*words, "--json").stdout)
    assert [one["response"] for one in as_json["rationales"]] == [0, 1]


def test_the_command_refuses_before_it_scores(judge, tmp_path):
    file = tmp_path / "requests.jsonl"
    file.write_text(json.dumps({"prompt": "Which?", "responses": ["one"]}), "utf-8")
    path = judge("qwen3_vl", language=False)
    for words in ([file, "--out", tmp_path / "scores.jsonl"], ["--prompt", "Which?", "--response", "one"]):
        done = run_here("yoj-score", path, *words, "--rationale", "best")
        assert (done.returncode, done.stdout) == (1, "")
        assert "Export the checkpoint again with --language" in done.stderr
    done = run_here("yoj-score", path, file, "--rationale", "best", "--n-method", "knockout")
    assert "are for the other methods than knockout" in done.stderr
    done = run_here("yoj-score", path, file, "--rationale", "best", "--dump-inputs", tmp_path / "dump")
    assert "--dump-inputs is of scores alone" in done.stderr


def test_equal_pictures_are_read_once(judge):
    scorer = Scorer.load(judge("molmo2"))
    request = Request(["Which?", Image(noise(3, 50, 50))], [[Image(noise(3, 50, 50))], "none"])
    assert isinstance(scorer.rationale(request, 0, max_tokens=2), Rationale)
    assert len(scorer.cache._entries) == 1
