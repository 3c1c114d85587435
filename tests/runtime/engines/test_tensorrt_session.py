"""The session of plans, on a simulated GPU: memory, streams, shapes, turns and closing. See `simulated_gpu`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from simulated_gpu import Cuda, simulated_plan

from yoj.export.tensorrt._profiles import parse_profile
from yoj.runtime import Request, Scorer
from yoj.runtime.bundle import Bundle
from yoj.runtime.engines._lane import SHAPES
from yoj.runtime.engines._tensorrt import TensorRTSession, _Role
from yoj.runtime.errors import EngineError, EngineMemoryError

PROFILES = [parse_profile("B=1:1:3,L=128:128:640,N=2:4:16,V=1:64:256,C=1:4:16,K=1:4:9"),
            parse_profile("B=1:4:8,L=16:64:128,N=2:4:16,V=1:64:256,C=1:4:16,K=1:4:9")]  # fmt: skip


class Simulated:
    def __init__(self, path, lanes: int = 2, capacity: int = 2**33):
        bundle = Bundle.open(path)
        self.cudart = Cuda(capacity)
        graphs = bundle.engine().graphs
        self.plans = {}
        for role, graph in graphs.items():
            letters = {axis for spec in graph.inputs for axis in spec.shape if isinstance(axis, str)}
            profiles = tuple({x: size for x, size in profile.items() if x in letters} for profile in PROFILES)
            self.plans[role] = simulated_plan(self.cudart, path / graph.file, role, graph, profiles)
        self.session = TensorRTSession({role: _Role(plan, lanes) for role, plan in self.plans.items()})
        self.scorer = Scorer(bundle, bundle.engine(), self.session)


@pytest.fixture
def path(bundle):
    return bundle("merged", "assistant")


def requests(count: int) -> list[Request]:
    draw = np.random.default_rng(5)
    images = [draw.integers(0, 256, (40, 56, 3), np.uint8), draw.integers(0, 256, (64, 30, 3), np.uint8)]
    return [
        Request(
            "Which? " + "word " * int(draw.integers(0, 40)),
            ["answer " * int(draw.integers(1, 20)) for _ in range(int(draw.integers(1, 7)))],
            images[: int(draw.integers(0, 3))],
        )
        for _ in range(count)
    ]


def differences(judged, expected) -> float:
    return max(np.abs(np.subtract(a.scores, b.scores)).max() for a, b in zip(judged, expected, strict=True))


@pytest.mark.parametrize("mode", ["joint", "isolated"])
def test_batches_of_any_shape_score_as_without_plans(mode, path):
    """24 requests: more rows than any profile has, padding on every axis, both profiles, images."""
    given = requests(24)
    expected = Scorer.load(path).score_batch(given, mode=mode)
    simulated = Simulated(path)
    assert differences(simulated.scorer.score_batch(given, mode=mode), expected) <= 1e-5
    one_by_one = [simulated.scorer.score_batch([request], mode=mode)[0] for request in given]
    assert differences(one_by_one, expected) <= 1e-5


def test_a_shape_is_captured_at_its_second_run_and_only_the_last_shapes_are_kept(path):
    simulated = Simulated(path, lanes=1)
    given = [Request("Which? " + "word " * (32 * k), ["one", "two"]) for k in range(5)]
    expected = Scorer.load(path).score_batch(given)
    for _ in range(4):
        assert differences([simulated.scorer.score_batch([r])[0] for r in given], expected) <= 1e-5
    (lane,) = simulated.session._roles["scorer.joint"]._idle
    shapes = [shape for room in lane._rooms.values() for shape in room._shapes.values()]
    assert all(shape._graph is not None for shape in shapes)
    assert simulated.cudart.graphs == len(shapes)
    assert simulated.cudart.launched == 3 * len(given)
    for rows in (1, 2, 3):
        for count in range(1, SHAPES):
            request = Request("Which?", [f"answer {k}" for k in range(count)])
            simulated.scorer.score_batch([request] * rows)
    assert all(len(room._shapes) <= SHAPES for room in lane._rooms.values())
    simulated.scorer.close()
    assert simulated.cudart.graphs == 0


@pytest.mark.thorough
def test_a_thousand_scores_in_eight_threads_are_right_and_hold_no_more_memory_than_two_lanes(path):
    given = requests(10)
    expected = Scorer.load(path).score_batch(given)
    simulated = Simulated(path)
    with ThreadPoolExecutor(8) as pool:
        for round_ in range(100):
            judged = list(pool.map(lambda request: simulated.scorer.score_batch([request])[0], given))
            assert differences(judged, expected) <= 1e-5
            if round_ == 50:
                held = simulated.cudart.used()
    assert simulated.cudart.used() <= 2 * held
    assert all(len(role._idle) <= 2 for role in simulated.session._roles.values())
    simulated.scorer.close()
    assert not simulated.cudart.held
    assert not simulated.cudart.streams


def test_memory_that_runs_out_is_an_error_and_everything_taken_so_far_is_given_back(path):
    simulated = Simulated(path, capacity=100_000)
    with pytest.raises(EngineMemoryError, match="too little memory free to hold"):
        simulated.scorer.score("Which?", ["one", "two"])
    assert not simulated.cudart.held
    assert not simulated.cudart.streams
    simulated.cudart.capacity = 2**33
    assert len(simulated.scorer.score("Which?", ["one", "two"]).scores) == 2


def test_a_run_that_fails_says_what_the_library_said_and_the_next_one_starts_afresh(path):
    simulated = Simulated(path)
    simulated.scorer.score("Which?", ["one", "two"])
    simulated.plans["scorer.joint"].engine.fails = True
    with pytest.raises(EngineError, match=r"scorer\.joint.*\n.*what the library said"):
        simulated.scorer.score("Which? What?", ["one", "two " * 80])
    assert not simulated.cudart.held
    simulated.plans["scorer.joint"].engine.fails = False
    expected = Scorer.load(path).score("Which?", ["one", "two"]).scores
    assert np.allclose(simulated.scorer.score("Which?", ["one", "two"]).scores, expected, atol=1e-5)


def test_a_request_outside_all_profiles_costs_no_buffers(path):
    simulated = Simulated(path)
    simulated.scorer.score("Which?", ["one", "two"])
    held = dict(simulated.cudart.held)
    with pytest.raises(EngineError, match=r"No profile of scorer\.joint takes"):
        simulated.scorer.score("Which?", [f"answer {k}" for k in range(17)])
    assert simulated.cudart.held.keys() == held.keys()


def test_closing_while_threads_score_ends_each_run_and_refuses_the_next(path):
    simulated, failed = Simulated(path), []
    started = threading.Barrier(5)

    def keep_scoring() -> None:
        started.wait()
        try:
            while True:
                simulated.scorer.score("Which?", ["one", "two"])
        except EngineError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=keep_scoring) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    simulated.scorer.close()
    simulated.scorer.close()
    for thread in threads:
        thread.join(timeout=60)
    assert len(failed) == 4
    assert all("was closed" in text for text in failed)
    assert not simulated.cudart.held
