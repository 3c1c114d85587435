"""ONNX Runtime's CUDA provider on a machine with a GPU: it agrees with the reference in every precision.

Without a GPU, or without the provider, every test here is skipped and says so.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from conftest import IMAGES, Quiet

from yoj.export.build import Recipe, build, open_family
from yoj.export.checkpoint import Checkpoint
from yoj.export.fidelity import THRESHOLDS, measure
from yoj.runtime import Scorer
from yoj.runtime.engines.device import check, compute_capability, load_cuda
from yoj.runtime.engines.onnxruntime_cuda import PROVIDER
from yoj.runtime.errors import EngineError

JUDGES = Path(__file__).parents[2] / "checkpoints"
BOUND = THRESHOLDS | {"float32": 1e-4}
"""Of scores against PyTorch on the CPU; in float32 other kernels sum in other orders, TF32 is off."""


@pytest.fixture(scope="module", autouse=True)
def _gpu() -> None:
    if PROVIDER not in ort.get_available_providers():
        pytest.skip(f"ONNX Runtime {ort.__version__} has no CUDA provider")
    try:
        compute_capability(load_cuda())
    except EngineError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("family", ["molmo2", "qwen3_vl"])
def test_the_small_judges_score_as_the_reference_does(family, precision, tmp_path):
    source = JUDGES / f"shapes-{family}"
    build(Recipe([source], None, "assistant", tmp_path / "j.yoj", precision=precision, compare=False), Quiet())
    checkpoint = Checkpoint.open([source])
    with Scorer.load(tmp_path / "j.yoj", engine="onnxruntime-cuda") as scorer:
        fidelity = measure(scorer, checkpoint, open_family(checkpoint), lambda _: None)
    assert fidelity.token_ids_equal
    assert fidelity.max_abs_diff <= BOUND[precision]
    assert fidelity.top1_agreement == 1


def test_a_thousand_scores_in_eight_threads_leave_the_memory_as_it_was(bundle):
    cudart = load_cuda()
    image = next(IMAGES.glob("*.png"))
    with Scorer.load(bundle("merged", "assistant"), engine="onnxruntime-cuda") as scorer:

        def score(number: int) -> tuple[float, ...]:
            responses = [f"answer {k}" for k in range(2 + number % 4)]
            return scorer.score("What is shown?", responses, images=[image]).scores

        with ThreadPoolExecutor(8) as pool:
            first = list(pool.map(score, range(100)))
            free, _ = check(cudart, cudart.cudaMemGetInfo(), "ask for free memory")
            rest = list(pool.map(score, range(100, 1000)))
        left, _ = check(cudart, cudart.cudaMemGetInfo(), "ask for free memory")
    assert np.isfinite(np.concatenate([*first, *rest])).all()
    assert free - left <= 64 * 2**20
