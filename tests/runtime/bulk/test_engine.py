"""What a process that runs the engine does, in this process."""

from __future__ import annotations

import os
import threading

import pytest
from bulk_rows import IMAGES, check_results, plain_loop, rows_of

from yoj.runtime import Scorer
from yoj.runtime.batch import BATCH_TOKENS
from yoj.runtime.bulk import FileScoring, RowResult, Source
from yoj.runtime.bulk import _engine as engine_module
from yoj.runtime.bulk._engine import EngineSetup, open_engine, visible_devices
from yoj.runtime.bulk._look_ahead import batches
from yoj.runtime.bulk._preparation import PreparationSetup, open_preparation
from yoj.runtime.codec import Reading
from yoj.runtime.roles import VISION
from yoj.runtime.sources import Policy

SETTINGS = FileScoring(Reading(Policy(IMAGES)))


@pytest.fixture(autouse=True)
def _interpreter_stays_as_it_is(monkeypatch):
    monkeypatch.setattr("sys.setswitchinterval", lambda _: None)


def opened(path, settings=SETTINGS, workers=1):
    engine = open_engine(EngineSetup(Source.of(path), settings, 0, workers))
    return engine, open_preparation(PreparationSetup(engine.told.preparing, settings, engine.told.run))


def prepared(preparation, rows):
    outcomes = {}
    for answer in preparation.work(dict(enumerate(rows))):
        outcomes |= answer.of_rows
    return outcomes


def test_one_medium_is_encoded_once_by_all_threads(bundle, monkeypatch):
    path = bundle("qwen3_vl", "assistant")
    engine, preparation = opened(path)
    picture = "gradient_square.png"
    rows = rows_of([{"prompt": f"{k}?", "responses": ["So.", "No."], "image": picture} for k in range(8)])
    outcomes = prepared(preparation, rows)
    session, roles = engine.work.__self__._session, []
    run = session.run
    monkeypatch.setattr(session, "run", lambda role, inputs: (roles.append(role), run(role, inputs))[1])
    results: dict[int, RowResult] = {}

    def score(position: int) -> None:
        ready = outcomes[position]
        for answer in engine.work({position: (ready.entry, ready.content)}):
            results.update(answer.of_rows)

    threads = [threading.Thread(target=score, args=(position,)) for position in outcomes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert roles.count(VISION) == 1
    found = [results[k] for k in range(8)]
    check_results(found, rows, plain_loop(Scorer.load(path), rows, SETTINGS))


def test_an_error_of_the_engine_costs_its_row_alone(bundle, monkeypatch):
    """Whatever it raises: the batch is scored again row by row."""
    engine, preparation = opened(bundle("qwen3_vl", "assistant"))
    rows = rows_of([{"prompt": f"{k}?" * (1 + 40 * (k == 2)), "responses": ["So.", "No."]} for k in range(4)])
    outcomes = prepared(preparation, rows)
    (batch,) = batches(outcomes, BATCH_TOKENS)
    session = engine.work.__self__._session
    run, longest = session.run, outcomes[2].longest

    def choke(role, inputs):
        if inputs["input_ids"].shape[1] == longest:
            raise RuntimeError("choked")
        return run(role, inputs)

    monkeypatch.setattr(session, "run", choke)
    (answer,) = engine.work({k: (ready.entry, ready.content) for k, ready in batch.items()})
    errors = {k: one.done.error for k, one in answer.of_rows.items() if one.done.error}
    assert errors == {2: {"message": "choked"}}
    assert len(answer.of_rows) == 4


def test_engines_share_the_cores_unless_told_otherwise(bundle, monkeypatch):
    threads = []
    original = Source.open
    monkeypatch.setattr(Source, "open", lambda source: (threads.append(source.threads), original(source))[1])
    path = bundle("qwen3_vl", "assistant")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for source, workers in ((Source.of(path), 1), (Source.of(path), 2), (Source.of(path, threads=1), 2)):
        open_engine(EngineSetup(source, SETTINGS, 1, workers))
    assert threads == [None, 2, 1]


@pytest.mark.parametrize(("given", "expected"), [("0, 3", ["0", "3"]), ("", []), ("MIG-1", ["MIG-1"])])
def test_gpus_are_those_that_cuda_may_use(monkeypatch, given, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_devices() == expected


def test_each_engine_takes_the_next_gpu(monkeypatch):
    """The choice alone: no GPU is needed to see which one the library would be shown."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.setattr(engine_module.Source, "open", lambda source: 1 / 0)
    for number, device in ((0, "4"), (1, "5")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
        with pytest.raises(ZeroDivisionError):
            open_engine(EngineSetup(Source(IMAGES, "onnxruntime-cuda"), SETTINGS, number, 3))
        assert os.environ["CUDA_VISIBLE_DEVICES"] == device
