"""What servers, trainers and workers do with a scorer: pickle it, prepare elsewhere, tell errors apart."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import yoj.runtime
from yoj.runtime import BundleError, LengthError, LimitError, Prepared, Request, RequestError, ScoreError, Scorer
from yoj.runtime.bundle import Bundle

IMAGES = Path(__file__).parents[1] / "golden" / "data" / "images"
PICTURE = IMAGES / "odd_small.png"
RESPONSES = ["A cat.", "Two dogs near a red car.", "Nothing."]


@pytest.fixture
def judge(bundle) -> Scorer:
    return Scorer.load(bundle("merged", "assistant"), threads=1)


def prepare_there(scorer: Scorer, prompt: str) -> Prepared:
    return scorer.prepare(Request(prompt, RESPONSES, [PICTURE], id=prompt))


def score_there(scorer: Scorer, prompt: str) -> tuple[float, ...]:
    return scorer.score(prompt, RESPONSES).scores


def test_a_scorer_pickles_as_what_it_was_loaded_from(judge, bundle, monkeypatch, tmp_path):
    content = pickle.dumps(judge)
    assert len(content) < 1000
    monkeypatch.chdir(tmp_path)
    there = pickle.loads(content)
    assert repr(there) == f"Scorer({str(bundle('merged', 'assistant'))!r}, not opened yet)"
    assert there.score("Why?", RESPONSES).scores == judge.score("Why?", RESPONSES).scores
    assert there.engine == judge.engine
    assert pickle.loads(pickle.dumps(there)).score("Why?", RESPONSES).scores == judge.score("Why?", RESPONSES).scores


def test_a_relative_path_is_found_from_another_folder(bundle, monkeypatch, tmp_path):
    path = bundle("merged", "assistant")
    monkeypatch.chdir(path.parent)
    content = pickle.dumps(Scorer.load(path.name))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(content).manifest.family == "molmo2"


def test_spawned_workers_prepare_and_the_host_judges(judge):
    prompts = ["What is shown?", "Where?", "Why not?"]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        ready = list(pool.map(prepare_there, [judge] * 3, prompts))
        scores = pool.submit(score_there, judge, "Why?").result()
    judgements = judge.score_prepared(ready)
    assert [judgement.id for judgement in judgements] == prompts
    for prompt, judgement in zip(prompts, judgements, strict=True):
        np.testing.assert_allclose(
            judgement.scores, judge.score(prompt, RESPONSES, images=[PICTURE]).scores, rtol=0, atol=1e-5
        )
    np.testing.assert_allclose(scores, judge.score("Why?", RESPONSES).scores, rtol=0, atol=1e-5)


def test_an_unpickled_scorer_is_opened_once_by_many_threads(judge, monkeypatch):
    opened: list[int] = []
    original = Bundle.opening
    monkeypatch.setattr(Bundle, "opening", classmethod(lambda cls, path: (opened.append(1), original(path))[1]))
    there = pickle.loads(pickle.dumps(judge))
    together = threading.Barrier(4)

    def score(number: int) -> tuple[float, ...]:
        together.wait()
        return there.score("Why?", RESPONSES).scores

    with ThreadPoolExecutor(4) as pool:
        assert len({*pool.map(score, range(4))}) == 1
    assert opened == [1]


def test_a_scorer_made_from_a_session_does_not_pickle_in_silence(judge):
    made = Scorer(judge._bundle, judge.engine, judge._session)
    with pytest.raises(TypeError, match=r"Only one of Scorer\.load can be pickled"):
        pickle.dumps(made)


def test_prepared_requests_of_any_modes_and_orders_are_judged_together(judge):
    requests = [
        Request("Why?", RESPONSES, mode="joint", orders=3),
        Request("Why?", RESPONSES, mode="isolated"),
        Request("Why?", RESPONSES),
    ]
    judgements = judge.score_prepared([judge.prepare(request) for request in requests])
    assert [(j.mode, j.orders) for j in judgements] == [("joint", 3), ("isolated", 1), ("joint", 1)]
    for request, judgement in zip(requests, judgements, strict=True):
        np.testing.assert_allclose(judgement.scores, judge.score_batch([request])[0].scores, rtol=0, atol=1e-5)
    assert judge.score_prepared([]) == []


def test_what_a_request_says_goes_before_what_the_call_says(judge):
    requests = [Request("Why?", RESPONSES, mode="joint", orders=2), Request("Why?", RESPONSES)]
    assert [(j.mode, j.orders) for j in judge.score_batch(requests, orders=3)] == [("joint", 2), ("joint", 3)]
    assert [j.mode for j in judge.score_batch([requests[1]], mode="isolated")] == ["isolated"]
    with pytest.raises(RequestError, match="leave orders at 1"):
        judge.score_batch([Request("Why?", RESPONSES, mode="isolated")], orders=2)


def test_id_and_metadata_come_back_with_the_judgement(judge):
    metadata = {"source": ["a", 1, None]}
    judgement = judge.score_batch([Request("Why?", RESPONSES, id="r-7", metadata=metadata)])[0]
    assert (judgement.id, judgement.metadata) == ("r-7", metadata)
    assert json.loads(json.dumps(judgement.to_dict()))["metadata"] == metadata


def test_timings_hold_milliseconds_only_and_tokens_are_counted(judge):
    judgement = judge.score("What is shown?", RESPONSES, images=[PICTURE])
    assert {*judgement.timings_ms} == {"decode", "preprocess", "pack", "vision", "gather", "scorer"}
    assert judgement.batch == 1
    (pack,) = judge.prepare(Request("What is shown?", RESPONSES, [PICTURE])).packs
    tokens = judgement.tokens
    assert tokens.row == len(pack.input_ids_L)
    assert tokens.prompt == pack.response_start_N[0]
    assert tokens.visual == (pack.media_L > 0).sum() > 0
    assert tokens.responses == tuple((pack.response_end_N - pack.response_start_N + 1).tolist())
    isolated = judge.score("What is shown?", RESPONSES, images=[PICTURE], mode="isolated").tokens
    assert isolated.visual == tokens.visual
    assert isolated.row < tokens.row  # no separators


def test_errors_of_a_batch_keep_their_class_and_values(judge):
    long = Request("Why?", ["word " * 60_000])
    with pytest.raises(LengthError, match=r"requests\[1\]: The pack has L=") as caught:
        judge.score_batch([Request("Why?", RESPONSES), long])
    assert caught.value.tokens > 36_000
    for error in (LengthError, LimitError, ScoreError):
        assert error.__name__ in yoj.runtime.__all__


def test_graphs_of_both_modes_can_be_opened_at_load(bundle):
    path = bundle("merged", "assistant")
    assert {*Scorer.load(path)._session._sessions._opened} == {"vision", "scorer.joint"}
    both = Scorer.load(path, modes=("joint", "isolated"))
    assert {*both._session._sessions._opened} == {"vision", "scorer.joint", "scorer.segmented"}


def test_the_pixel_limit_is_a_setting_that_cannot_exceed_the_bundles(bundle):
    path = bundle("merged", "assistant")
    small = Scorer.load(path, max_pixels=100)
    with pytest.raises(LimitError, match="the limit is 100"):
        small.score("What?", RESPONSES, images=[PICTURE])
    with pytest.raises(LimitError, match="the limit is 100"):
        pickle.loads(pickle.dumps(small)).score("What?", RESPONSES, images=[PICTURE])
    larger = Scorer.load(path, max_pixels=10**12)
    assert larger._preparer.rules.limits.pixels == larger.manifest.limits.pixels
    with pytest.raises(LimitError, match="max_pixels is 0"):
        Scorer.load(path, max_pixels=0)


def test_a_scorer_says_what_it_is(judge, bundle):
    assert repr(judge) == f"Scorer({str(bundle('merged', 'assistant'))!r}, molmo2, onnxruntime, float32)"


def test_notices_of_pictures_reach_the_judgement(judge, tmp_path):
    from PIL import Image as Pillow

    Pillow.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    judgement = judge.score("What?", RESPONSES, images=[tmp_path / "clear.png"])
    assert judgement.notices == ("images[0]: transparent parts were put on white",)
    assert "note: images[0]" in str(judgement)


def test_the_library_logs_and_is_silent_until_asked(bundle, caplog):
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("yoj").handlers)
    with caplog.at_level(logging.INFO, "yoj"):
        Scorer.load(bundle("merged", "assistant"))
    assert any("molmo2" in record.getMessage() or "assistant" in record.getMessage() for record in caplog.records)


def test_requests_prepared_for_another_bundle_are_refused(judge, bundle):
    """Ids of another tokenizer or layout would be scored as if they were this one's."""
    other = Scorer.load(bundle("merged", "user"))
    prepared = other.prepare(Request("Why?", RESPONSES))
    with pytest.raises(RequestError, match=r"prepared\[1\] was prepared for a bundle of digest .*merged-assistant"):
        judge.score_prepared([judge.prepare(Request("Why?", RESPONSES)), prepared])
    with pytest.raises(RequestError, match=r"prepared\[0\] is a int"):
        judge.score_prepared([3])


def test_a_pickled_scorer_refuses_a_bundle_that_took_the_place_of_its_own(bundle, tmp_path):
    place = tmp_path / "judge.yoj"
    shutil.copytree(bundle("merged", "assistant"), place)
    content = pickle.dumps(Scorer.load(place))
    assert pickle.loads(content).score("Why?", RESPONSES).best in range(3)
    shutil.rmtree(place)
    shutil.copytree(bundle("merged", "user"), place)
    with pytest.raises(BundleError, match="is another bundle than when this scorer was loaded"):
        pickle.loads(content).score("Why?", RESPONSES)


@pytest.mark.parametrize("modes", ["isolated", ["alone"]])
def test_modes_that_are_none_are_refused(modes, bundle):
    with pytest.raises(RequestError, match="give a list of 'joint' and 'isolated'"):
        Scorer.load(bundle("merged", "assistant"), modes=modes)


def test_what_to_do_with_errors_is_one_of_two_words(judge):
    with pytest.raises(RequestError, match="give 'raise' or 'return'"):
        judge.score_batch([Request("Why?", RESPONSES)], on_error="ignore")


def test_a_server_reads_and_writes_json_with_public_names(judge, tmp_path):
    from yoj.runtime import Policy, Reading, decode_request, encode_judgement

    (tmp_path / "p.png").write_bytes(PICTURE.read_bytes())
    text = json.dumps({"prompt": "What?", "responses": RESPONSES, "image": "p.png", "id": 7, "metadata": [1]}).encode()
    (judgement,) = judge.score_batch([decode_request(text, Reading(policy=Policy(root=tmp_path)))])
    answer = json.loads(json.dumps(encode_judgement(judgement)))
    assert (answer["id"], answer["metadata"]) == (7, [1])
    assert answer["scores"] == list(judge.score("What?", RESPONSES, images=[PICTURE]).scores)
    with pytest.raises(RequestError):
        decode_request(text)  # no policy: no files
