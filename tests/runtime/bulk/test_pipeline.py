"""The pipeline: whatever the rows, each has one result, in order, that a plain loop gives too."""

from __future__ import annotations

import base64
import json
import multiprocessing
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from bulk_rows import IMAGES, DeadlyPolicy, check_results, plain_loop, rows_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yoj.runtime import BundleError, EngineError, RequestError, Scorer
from yoj.runtime.bulk import FileScoring, Pipeline, PipelineConfig, ShardRow, Source
from yoj.runtime.codec import Reading

pytestmark = pytest.mark.slow
READING = Reading(DeadlyPolicy(IMAGES))
SETTINGS = FileScoring(READING)
PICTURE = base64.b64encode((IMAGES / "odd_small.png").read_bytes()).decode()
WORDS = ("the", "cat", "sat", "on", "a", "red", "bus", "and", "saw", "nothing", "at", "all")


@pytest.fixture(scope="module")
def path(bundle):
    return bundle("qwen3_vl", "assistant")


@pytest.fixture(scope="module")
def judge(path):
    return Scorer.load(path, threads=1)


@pytest.fixture(scope="module")
def pipeline(path) -> Iterator[Pipeline]:
    with Pipeline(Source.of(path, threads=1), SETTINGS, PipelineConfig(preparers=2, window_rows=12)) as opened:
        yield opened


def word(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 40)))


def made(seed: int) -> dict[str, object] | bytes:
    """A row of any kind."""
    rng = random.Random(seed)
    row: dict[str, object] = {"prompt": word(rng), "responses": [word(rng) for _ in range(rng.randint(1, 5))]}
    row |= rng.choice([{}, {"id": seed}, {"id": f"r{seed}", "metadata": {"of": [seed, None]}}])
    row |= rng.choice([{}, {}, {"mode": "isolated"}, {"mode": "joint", "orders": 2}])
    picture = rng.choice(["odd_small.png", "checker_odd.png", "../outside.png", {"bytes": PICTURE}])
    row |= rng.choice([{}, {}, {"image": picture}, {"image": ["odd_small.png", "checker_odd.png"]}])
    if rng.random() < 0.2:
        responses = row["responses"]
        assert isinstance(responses, list)
        responses.append(responses[0])
    wrong = (b"{", b"[]", b'{"prompt": "Why?"}', b"\xff\xfe", json.dumps(row | {"mode": "all"}).encode())
    more = {"mode": "isolated", "orders": 2}, {"image": "missing.png"}, {"responses": []}, {"prompt": "<image>"}
    return rng.choice([row] * 5 + [rng.choice(wrong), row | rng.choice(more)])


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 1000), max_size=40))
def test_any_rows_have_the_results_of_a_plain_loop(judge, pipeline, seeds):
    rows = rows_of([made(seed) for seed in seeds])
    check_results([*pipeline.score_rows(rows)], rows, plain_loop(judge, rows, SETTINGS))


def test_a_file_gives_the_same_bytes_each_time(pipeline):
    rows = rows_of([made(seed) for seed in range(60)])
    first = [one.text for one in pipeline.score_rows(rows)]
    assert [one.text for one in pipeline.score_rows(rows)] == first


def test_settings_hold_for_rows_that_say_nothing(path, judge):
    other = FileScoring(replace(READING, overflow="truncate"), mode="isolated")
    rows = rows_of([{"prompt": "Why?", "responses": ["So.", "No."]}, made(3), made(4)])
    with Pipeline(Source.of(path, threads=1), other) as pipeline:
        results = [*pipeline.score_rows(rows)]
    check_results(results, rows, plain_loop(judge, rows, other))
    assert json.loads(results[0].text)["mode"] == "isolated"


def test_rows_of_another_folder_are_read_from_there(pipeline, tmp_path):
    (tmp_path / "here.png").write_bytes((IMAGES / "odd_small.png").read_bytes())
    rows = rows_of([{"prompt": "Why?", "responses": ["So."], "image": "here.png"}])
    (there,) = pipeline.score_rows(rows)
    (here,) = pipeline.score_rows(rows, Reading(DeadlyPolicy(tmp_path)))
    assert there.done.error is not None
    assert here.done.error is None
    assert here.done.run == there.done.run


def test_several_engines_share_the_rows_and_the_order_stays(path, judge):
    rows = rows_of([made(seed) for seed in range(100, 180)])
    with Pipeline(Source.of(path), SETTINGS, PipelineConfig(workers=2, window_rows=16)) as pipeline:
        assert (pipeline.loaded.manifest.digest, pipeline.loaded.engine) == (judge.manifest.digest, judge.engine)
        results = [*pipeline.score_rows(rows)]
        assert pipeline.usage.workers == 2
    check_results(results, rows, plain_loop(judge, rows, SETTINGS))


def test_processes_that_are_killed_lose_and_double_nothing(path, judge):
    rows = rows_of([made(seed) for seed in range(300)])
    killed, results, others = [], [], {one.pid for one in multiprocessing.active_children()}
    with Pipeline(Source.of(path, threads=1), SETTINGS, PipelineConfig(window_rows=24)) as pipeline:
        for result in pipeline.score_rows(rows):
            results.append(result)
            if len(results) in (5, 60, 130, 220):
                kind = ("yoj-engine", "yoj-prepare")[len(killed) % 2]
                of_kind = [one for one in multiprocessing.active_children() if one.name.startswith(kind)]
                victim = next(one for one in of_kind if one.pid not in others)
                victim.kill()
                killed.append(victim.pid)
        assert pipeline.usage.restarts == len(killed) == 4
    check_results(results, rows, plain_loop(judge, rows, SETTINGS))


def test_a_row_that_ends_processes_costs_itself_alone(pipeline, judge):
    requests = [made(seed) for seed in range(400, 420)]
    deadly = {"prompt": "Why?", "responses": ["So."], "image": "deadly.png"}
    rows = rows_of([*requests[:9], deadly, *requests[9:]])
    results = [*pipeline.score_rows(rows)]
    error = json.loads(results.pop(9).text)
    assert (error["line"], error["request"], error["error"]["type"]) == (10, rows[9].digest, "EngineError")
    assert (
        "Two processes in which this row was prepared, and nothing else, ended with SIGKILL"
        in error["error"]["message"]
    )
    del rows[9]
    check_results(results, rows, plain_loop(judge, rows, SETTINGS))


def test_usage_counts_what_was_done(path):
    rows = rows_of([{"prompt": "Why?", "responses": ["So.", "No."]}] * 50 + [b"{"])
    with Pipeline(Source.of(path, threads=1), SETTINGS) as pipeline:
        assert pipeline.usage.busy == 0
        assert len([*pipeline.score_rows(rows)]) == 51
        usage = pipeline.usage
    assert usage.rows == 51
    with Scorer.load(path) as scorer:
        (pack,) = scorer.prepare(plain_request()).packs
    assert usage.tokens == 50 * len(pack.input_ids_L)
    assert 0 < usage.engine_seconds < usage.seconds
    assert 0 < usage.busy < 1


def plain_request():
    from yoj.runtime import Request

    return Request("Why?", ["So.", "No."])


def test_rows_are_read_no_further_ahead_than_two_windows(pipeline):
    read = 0

    def endless() -> Iterator[ShardRow]:
        nonlocal read
        (row,) = rows_of([{"prompt": "Why?", "responses": ["So.", "No."]}])
        while True:
            read += 1
            yield replace(row, number=read)

    with closing(pipeline.score_rows(endless())) as results:
        for number, result in zip(range(1, 101), results, strict=False):
            assert result.done.line == number
            assert read - number <= 2 * 12


def test_big_pictures_stop_the_look_ahead(path, tmp_path):
    """The largest picture that the model takes is 0.22 MB for the vision graph; two windows hold 2 MB."""
    from PIL import Image

    Image.new("RGB", (640, 640), "red").save(tmp_path / "big.png")
    settings = FileScoring(Reading(DeadlyPolicy(tmp_path)))
    rows = rows_of([{"prompt": f"{k}?", "responses": ["So."], "image": "big.png"} for k in range(40)])
    source, config = Source.of(path, threads=1), PipelineConfig(preparers=1, window_bytes=10**6)
    with Pipeline(source, settings, config) as pipeline:
        held = []
        for result in pipeline.score_rows(rows):
            assert result.done.error is None, result.text
            ahead = pipeline._current
            assert ahead is not None
            held.append(ahead.held)
            assert ahead.taken - ahead.returned < 20
        assert 0 < max(held) <= 2.3 * 10**6


def test_an_iteration_that_is_left_does_not_reach_into_the_next(pipeline, judge):
    rows = rows_of([made(seed) for seed in range(500, 540)])
    with closing(pipeline.score_rows(rows)) as results:
        next(results)
        other = rows_of([made(seed) for seed in range(600, 620)])
        check_results([*pipeline.score_rows(other)], other, plain_loop(judge, other, SETTINGS))
        with pytest.raises(EngineError, match="Rows of another iteration"):
            next(results)


def test_an_error_of_the_caller_ends_all_processes(path):
    before = {one.pid for one in multiprocessing.active_children()}
    with pytest.raises(KeyError), Pipeline(Source.of(path, threads=1), SETTINGS) as pipeline:  # noqa: PT012
        for _ in pipeline.score_rows(rows_of([made(seed) for seed in range(50)])):
            raise KeyError
    assert {one.pid for one in multiprocessing.active_children()} == before
    with pytest.raises(EngineError, match="The pipeline is not open"):
        next(pipeline.score_rows([]))


def test_a_bundle_or_engine_that_is_not_there_is_an_error_before_any_row(path, tmp_path):
    for source, error in (
        (Source(tmp_path / "missing.yoj"), BundleError),
        (Source(path, engine="tensorrt"), EngineError),
        (Source(path, threads=1000), EngineError),
    ):
        with pytest.raises(error), Pipeline(source, SETTINGS):
            pass
    with (
        pytest.raises(BundleError, match="no language graph"),
        Pipeline(Source.of(path, threads=1), FileScoring(READING, rationale="best")),
    ):
        pass


@pytest.mark.parametrize("name", ["workers", "preparers", "window_rows", "window_bytes"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5])
def test_sizes_are_numbers_from_1(name, value):
    with pytest.raises(RequestError, match=f"{name} is {value!r}"):
        PipelineConfig(**{name: value})
