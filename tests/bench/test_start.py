"""Cold starts, profiles and the description of the machine, on tiny bundles."""

from __future__ import annotations

import datetime
import getpass
import json
import platform
import shutil
from pathlib import Path

import pytest
from recorded import ADAPTER, IMAGES, MERGED

from yoj.bench import _cold_start as cold_start
from yoj.bench._costs import TRIED, profile
from yoj.bench._environment import describe
from yoj.bench._errors import BenchError
from yoj.bench._start import measure_start, weight_bytes
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.graph.write import INLINE_BYTES
from yoj.runtime import Request, Scorer
from yoj.runtime.batch import scorer_inputs
from yoj.runtime.bundle import Bundle

RESPONSES = ["A cat.", "Two dogs.", "Nothing."]


def expected_weights(source: Path) -> int:
    """Of the plans and constants of the two graphs, each once; small constants are inside the graphs."""
    sizes = {}
    for spec in open_family(Checkpoint.open([source])).graphs:
        if spec.role == "scorer.segmented":
            continue
        for name, parameter in spec.module.named_parameters():
            if name in spec.sources:
                sizes[spec.sources[name]] = 4 * parameter.numel()
            elif spec.constants[name].nbytes > INLINE_BYTES:
                sizes[spec.constants[name].numpy().tobytes()] = spec.constants[name].nbytes
    return sum(sizes.values())


@pytest.mark.parametrize(("kind", "source"), [("merged", MERGED), ("adapter", ADAPTER)])
def test_weights_are_those_of_the_graphs_that_run(bundle, kind, source):
    path = bundle(kind, "assistant")
    assert weight_bytes(path, "float32") == expected_weights(source)
    # The file has a place on a page boundary for each tensor, and nothing of other graphs.
    assert weight_bytes(path, "float32") < (path / "onnx" / "weights.data").stat().st_size


@pytest.mark.parametrize("image", [None, IMAGES / "odd_small.png"])
def test_a_start(bundle, image):
    path = bundle("merged", "assistant")
    start = measure_start(path, "What is shown?", RESPONSES, image, threads=1)
    assert (start.bundle, start.precision) == (path.name, "float32")
    assert min(start.import_s, start.load_s, start.first_score_s) > 0
    assert start.weights == expected_weights(MERGED)
    assert start.resident > start.weights
    assert start.resident < 2**30  # of a model of a megabyte; with PyTorch it would be more than a quarter of that
    assert start.bundle_size == sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) > start.weights


def test_a_cold_start_says_what_happens_when(bundle):
    path = bundle("merged", "assistant")
    found = cold_start.measure(path, IMAGES / "odd_small.png", threads=1)
    moments = [event["wall_s"] for event in found["events"]]
    assert moments == sorted(moments)
    said = [event["event"] for event in found["events"]]
    assert any("hashed onnx/weights.data" in text for text in said[: said.index("loaded")])
    assert any("opened onnx/scorer.joint.onnx" in text for text in said[: said.index("loaded")])
    assert said[-1] == "scored"
    assert found["weights"] == expected_weights(MERGED)
    assert found["weights"] < found["memory_after_load"]["anonymous"] < found["peak"]
    assert str(path) not in json.dumps(found)
    with Scorer.load(path, threads=1) as scorer:
        judgement = scorer.score(cold_start.PROMPT, cold_start.RESPONSES, images=[IMAGES / "odd_small.png"])
    assert found["scores"] == list(judgement.scores)


def test_a_cold_start_that_fails_says_why(bundle, tmp_path):
    damaged = shutil.copytree(bundle("merged", "assistant"), tmp_path / "damaged")
    (damaged / "tokenizer.json").write_text("{}")
    with pytest.raises(BenchError, match="did not load and score"):
        cold_start.measure(damaged, None, threads=1)


def test_a_start_that_fails_says_why(bundle):
    with pytest.raises(BenchError, match="RequestError: The request has no responses"):
        measure_start(bundle("merged", "assistant"), "What is shown?", [])


def test_a_start_with_pytorch_is_refused(bundle, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("")
    (tmp_path / "sitecustomize.py").write_text("import torch\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with pytest.raises(BenchError, match="loaded PyTorch"):
        measure_start(bundle("merged", "assistant"), "What is shown?", RESPONSES)


@pytest.mark.parametrize(("kind", "role"), [("merged", "vision"), ("merged", "scorer.joint"),
                                            ("qwen3_vl", "scorer.segmented")])  # fmt: skip
def test_a_profile_shares_out_the_time(bundle, monkeypatch, kind, role):
    monkeypatch.setitem(TRIED, "MatMul", "Wider.")
    opened = Bundle.open(bundle(kind, "assistant"))
    with Scorer.load(opened.path, threads=1) as scorer:
        prepared = scorer.prepare(Request("What is shown?", RESPONSES, [IMAGES / "odd_small.png"]))
        inputs = scorer.family.vision_inputs(prepared.media)
        if role != "vision":
            inputs = scorer_inputs(
                [prepared], scorer.family, scorer._features(dict(zip(prepared.keys, prepared.media, strict=True)))
            )
    found = profile("yoj float32", opened, role, inputs, threads=1, runs=3)
    assert (found.variant, found.graph) == ("yoj float32", role)
    assert sum(cost.share for cost in found.costs) == pytest.approx(1.0)
    times = [cost.milliseconds for cost in found.costs]
    assert times == sorted(times, reverse=True)
    assert 0 < sum(times) < 1000
    by_name = {cost.operator: cost for cost in found.costs}
    assert len(by_name) == len(found.costs)
    assert by_name["MatMul"].tried == "Wider."
    assert by_name["MatMul"].milliseconds > 0
    assert ("RMSNormalization" in by_name or "SimplifiedLayerNormalization" in by_name) == (role != "vision")


def test_a_profile_leaves_nothing_behind(bundle, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    opened = Bundle.open(bundle("merged", "assistant"))
    with Scorer.load(opened.path, threads=1) as scorer:
        prepared = scorer.prepare(Request("What is shown?", RESPONSES, [IMAGES / "odd_small.png"]))
        profile("x", opened, "vision", scorer.family.vision_inputs(prepared.media), threads=1, runs=1)
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_no_person_and_no_place():
    found = describe(threads=2)
    assert found["threads"] == 2
    assert {"machine", "cpu", "cores", "gpu", "python", "date", "yoj", "torch", "onnxruntime", "numpy"} <= found.keys()
    datetime.date.fromisoformat(found["date"])
    text = json.dumps(found)
    assert platform.node() not in text
    assert str(Path.home()) not in text
    assert f'"{getpass.getuser()}"' not in text
