"""ONNX Runtime's CUDA provider on a machine with a GPU: it keeps no memory. That it agrees with the stock model, in
every precision of both judges, is a part of ``make gpu`` (`yoj-bench parity`).

Without a GPU, or without the provider, every test here is skipped and says so.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from recorded import IMAGES

from yoj.bench._needs import missing
from yoj.runtime import Scorer
from yoj.runtime.engines.device import check, load_cuda

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def _gpu() -> None:
    if reason := missing("onnxruntime-cuda"):
        pytest.skip(reason)


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
