"""How long models of the released dimensions take on a GPU; the figures are kept under ``bench/results``.

Without a GPU, or without an engine for it, every test here is skipped and says so.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import Quiet

from yoj.bench.large_checkpoint import write
from yoj.bench.latency import SHAPES, measure_all
from yoj.export.build import Recipe, build
from yoj.export.compile import Order, compile_bundle
from yoj.export.profiles import parse_profile
from yoj.runtime import Scorer
from yoj.runtime.engines.device import check, load_cuda
from yoj.runtime.errors import EngineError

ROOT = Path(__file__).parents[2]
GPU_BYTES, DISK_BYTES = 20e9, 45e9
"""Weights and activations; the checkpoint, the bundle and plans of both scorers."""
PROFILE = "B=1:1:1,L=16:2048:4096,N=2:4:16,V=1:512:4096,C=1:9:16,P=16:1024:4096"
SECONDS = 2.0
"""A GPU of 20 TFLOP/s reads 3,400 tokens with 4e9 weights in 1.4 s; a CPU takes minutes."""


@pytest.fixture(scope="module", autouse=True)
def _gpu(tmp_path_factory) -> None:
    try:
        cudart = load_cuda()
        free, _ = check(cudart, cudart.cudaMemGetInfo(), "ask for free memory")
    except EngineError as error:
        pytest.skip(str(error))
    disk = shutil.disk_usage(tmp_path_factory.getbasetemp()).free
    if free < GPU_BYTES or disk < DISK_BYTES:
        pytest.skip(f"4B models need {GPU_BYTES:.0e} bytes of the GPU and {DISK_BYTES:.0e} of disk: {free}, {disk}")


@pytest.fixture(scope="module", params=["molmo2", "qwen3_vl"])
def large(request, tmp_path_factory):
    """Family, and a bundle in bfloat16 of 36 layers with random weights."""
    folder = tmp_path_factory.mktemp("large")
    checkpoint = write(ROOT / "checkpoints" / f"shapes-{request.param}", folder / "checkpoint")
    out = folder / "judge.yoj"
    build(Recipe([checkpoint], None, "assistant", out, precision="bfloat16", compare=False), Quiet())
    yield request.param, out
    shutil.rmtree(folder)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engine", ["onnxruntime-cuda", "tensorrt", "tensorrt-rtx"])
def test_a_request_takes_as_long_as_a_gpu_takes(engine, large):
    family, path = large
    try:
        if engine.startswith("tensorrt"):
            compile_bundle(Order(path, engine, profiles=[parse_profile(PROFILE)]), Quiet())
        Scorer.load(path, engine=engine).close()
    except EngineError as error:
        pytest.skip(str(error))
    figures = measure_all(path, engine)
    assert figures["requests"].keys() == set(SHAPES)
    for row in figures["requests"].values():
        assert 0 < row["scorer_ms"] <= row["median_ms"] <= row["p90_ms"] < SECONDS * 1e3
    (ROOT / "bench" / "results" / f"latency-{family}-{engine}.json").write_text(json.dumps(figures, indent=1) + "\n")
