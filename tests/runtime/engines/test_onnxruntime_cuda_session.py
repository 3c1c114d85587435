"""The CUDA provider without a GPU: refused with what to do, and its session on the one device that is here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from yoj.runtime import EngineError, Request, Scorer
from yoj.runtime.bundle import Bundle
from yoj.runtime.engines.onnxruntime import LazySessions, open_graph
from yoj.runtime.engines.onnxruntime_cuda import PROVIDER, CudaSession
from yoj.runtime.engines.select import select
from yoj.runtime.manifest import Graph

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
REQUESTS = [Request("What is shown?", ["a cat", "two dogs", "a car"], [IMAGE]), Request("Which?", ["one", "two"])]


@pytest.mark.skipif(PROVIDER in ort.get_available_providers(), reason="this ONNX Runtime has a CUDA provider")
def test_without_the_provider_the_engine_is_refused_and_the_cpu_still_scores(bundle):
    with pytest.raises(EngineError, match=r"has no CUDA provider here.*pip install 'yoj"):
        Scorer.load(bundle("merged", "assistant"), engine="onnxruntime-cuda")
    assert len(Scorer.load(bundle("merged", "assistant")).score("Which?", ["one", "two"]).scores) == 2


def test_it_executes_the_graphs_of_onnxruntime(bundle):
    opened = Bundle.open(bundle("merged", "assistant"))
    chosen, cpu = select(opened, "onnxruntime-cuda", None), opened.engine()
    assert (chosen.engine, chosen.precision, chosen.graphs) == ("onnxruntime-cuda", "float32", cpu.graphs)


@pytest.fixture
def bound(bundle) -> Scorer:
    """A scorer whose inputs and outputs are bound to the CPU as they are to a GPU."""
    opened = Bundle.open(bundle("merged", "assistant"))
    entry = select(opened, "onnxruntime-cuda", None)

    def make(graph: Graph) -> ort.InferenceSession:
        return open_graph(ort, opened.files, graph.file, ort.SessionOptions(), ["CPUExecutionProvider"])

    sessions = LazySessions(opened, entry, make)
    return Scorer(opened, entry, CudaSession(sessions, ort, "cpu"))


def test_bound_inputs_and_outputs_give_the_same_scores_in_several_threads(bound, scorer):
    expected = [judgement.scores for judgement in scorer().score_batch(REQUESTS)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: [j.scores for j in bound.score_batch(REQUESTS)], range(8)))
    for scores in found:
        np.testing.assert_allclose(np.concatenate(scores), np.concatenate(expected), rtol=0, atol=1e-6)


def test_what_onnxruntime_says_is_in_the_error(bound):
    with pytest.raises(EngineError, match=r"ONNX Runtime failed in vision with pixel_values \[1, 2, 3\]: "):
        bound._session.run("vision", {"pixel_values": np.zeros((1, 2, 3), np.float32)})


def test_a_closed_scorer_says_so(bound):
    bound.close()
    with pytest.raises(EngineError, match=r"was closed\. Load it again"):
        bound.score("Which?", ["one", "two"])


def test_of_the_two_scorers_one_is_opened_and_the_other_when_it_is_used(bundle):
    opened = Bundle.open(bundle("merged", "assistant"))
    asked = list[str]()

    def make(graph: Graph) -> ort.InferenceSession:
        asked.append(Path(graph.file).stem)
        return open_graph(ort, opened.files, graph.file, ort.SessionOptions(), ["CPUExecutionProvider"])

    scorer = Scorer(opened, opened.engine(), CudaSession(LazySessions(opened, opened.engine(), make), ort, "cpu"))
    scorer.score("Which?", ["one", "two"])
    assert sorted(asked) == ["scorer.joint", "vision"]
    scorer.score("Which?", ["one", "two"], mode="isolated")
    scorer.score("Which?", ["one", "two"], mode="isolated")
    assert sorted(asked) == ["scorer.joint", "scorer.segmented", "vision"]
