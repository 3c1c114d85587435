"""TensorRT on a machine with a GPU: the engine agrees with the stock model, and gives its memory back.

Without a GPU, or without the library, every test here is skipped and says so.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from quiet import Quiet
from recorded import ADAPTER, IMAGES, MERGED

from yoj.bench._needs import missing
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.tensorrt._builder import BuilderSettings
from yoj.export.tensorrt._compile import CompileJob, compile_bundle
from yoj.export.tensorrt._profiles import parse_profile
from yoj.export.verification.fidelity import measure
from yoj.runtime import Request, Scorer
from yoj.runtime.engines._lane import SHAPES
from yoj.runtime.engines.device import check, load_cuda
from yoj.runtime.errors import EngineError

pytestmark = pytest.mark.gpu

BOUND = 1e-4
"""Of float32 scores against PyTorch on the CPU: other kernels, other orders of summation; TF32 is off."""


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt-rtx"])
def engine(request) -> str:
    if reason := missing(request.param):
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="module")
def compiled(engine, bundle, tmp_path_factory):
    """compiled(kind) -> a bundle with plans for this GPU."""
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp(engine)
            made[kind] = shutil.copytree(bundle(kind, "assistant"), folder / f"{kind}.yoj")
            compile_bundle(CompileJob(made[kind], engine, profiles=[small()]), Quiet())
        return made[kind]

    return make


def small():
    return parse_profile("B=1:4:16,L=16:128:1024,N=2:4:16,V=1:64:1024,C=1:4:32,F=1:2:16,P=16:64:1024")


def requests(count: int) -> list[Request]:
    draw, images = np.random.default_rng(0), sorted(IMAGES.glob("*.png"))
    words = "a red blue small cat dog near two trees".split()  # noqa: SIM905

    def text(length: int) -> str:
        return " ".join(draw.choice(words, length))

    return [
        Request(
            text(5) + "?",
            [text(int(draw.integers(1, 30))) for _ in range(int(draw.integers(1, 7)))],
            images[: int(draw.integers(0, 2))],
        )
        for _ in range(count)
    ]


def free_memory() -> int:
    cudart = load_cuda()
    check(cudart, cudart.cudaDeviceSynchronize(), "wait")
    return int(check(cudart, cudart.cudaMemGetInfo(), "ask for free memory")[0])


@pytest.mark.parametrize(("kind", "source"), [("merged", MERGED), ("adapter", ADAPTER)])
def test_the_engine_agrees_with_the_reference(kind, source, engine, compiled):
    checkpoint = Checkpoint.open([source])
    with Scorer.load(compiled(kind), engine=engine) as scorer:
        fidelity = measure(scorer, checkpoint, open_family(checkpoint), lambda _: None)
    assert fidelity.engine == engine
    assert fidelity.max_abs_diff <= BOUND


def test_a_repeated_shape_runs_from_its_cuda_graph_and_gives_the_same_scores(engine, compiled):
    given = requests(1)[0]
    with Scorer.load(compiled("merged"), engine=engine, threads=1) as scorer:
        scores = [scorer.score_batch([given])[0].scores for _ in range(5)]
        if engine == "tensorrt":
            (lane,) = scorer._session._roles["scorer.joint"]._idle
            shapes = [shape for room in lane._rooms.values() for shape in room._shapes.values()]
            assert any(shape._graph is not None for shape in shapes)
    assert len(set(scores)) == 1


def test_more_shapes_than_are_kept_score_as_onnx_runtime_does(engine, compiled):
    given = [Request("Which?", ["word " * (8 * k + 1), "two"]) for k in range(2 * SHAPES)]
    expected = [judgement.scores for judgement in Scorer.load(compiled("merged")).score_batch(given)]
    with Scorer.load(compiled("merged"), engine=engine, threads=1) as scorer:
        for request, scores in itertools.chain(*[zip(given, expected, strict=True)] * 2):
            assert np.abs(np.subtract(scorer.score_batch([request])[0].scores, scores)).max() <= BOUND


def test_a_thousand_scores_in_eight_threads_leave_no_memory_behind(engine, compiled):
    given = requests(50)
    expected = [judgement.scores for judgement in Scorer.load(compiled("merged")).score_batch(given)]
    Scorer.load(compiled("merged"), engine=engine).close()  # what the libraries load once stays
    before = free_memory()
    with Scorer.load(compiled("merged"), engine=engine) as scorer, ThreadPoolExecutor(8) as pool:
        held: list[int] = []
        for _ in range(20):
            scored = list(pool.map(lambda request: scorer.score_batch([request])[0].scores, given))
            for scores, right in zip(scored, expected, strict=True):
                assert np.abs(np.subtract(scores, right)).max() <= BOUND
            held.append(free_memory())
        assert held[4] - held[-1] <= 64 * 2**20  # shapes of the first rounds are still being prepared
    assert before - free_memory() <= 64 * 2**20


def test_closing_waits_for_what_runs_and_refuses_what_comes_later(engine, compiled):
    scorer, given, failed = Scorer.load(compiled("merged"), engine=engine), requests(1)[0], []

    def keep_scoring() -> None:
        try:
            while True:
                scorer.score_batch([given])
        except EngineError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=keep_scoring) for _ in range(4)]
    for thread in threads:
        thread.start()
    scorer.close()
    for thread in threads:
        thread.join(timeout=60)
    assert len(failed) == 4
    assert all("was closed" in text for text in failed)


def test_a_request_outside_all_profiles_is_refused_and_the_next_one_scores(engine, compiled):
    with Scorer.load(compiled("merged"), engine=engine) as scorer:
        with pytest.raises(EngineError, match=r"No profile of scorer\.joint"):
            scorer.score("Which?", [f"answer {k}" for k in range(17)])
        assert len(scorer.score("Which?", ["one", "two"]).scores) == 2


def test_the_layers_of_every_plan_and_the_timing_cache_are_kept(engine, compiled):
    names = [file.name for file in (compiled("merged") / "engines").rglob("*") if file.is_file()]
    assert sum(".layers." in name for name in names) == 3
    assert any(name.startswith("timing.") for name in names) == (engine == "tensorrt")


@pytest.mark.parametrize(
    "settings",
    [BuilderSettings(weight_streaming=True), BuilderSettings(refit=True), BuilderSettings(version_compatible=True)],
)
def test_plans_of_each_option_score_as_onnx_runtime_does(settings, engine, bundle, tmp_path):
    if engine == "tensorrt-rtx" and settings.version_compatible:
        pytest.skip("plans of TensorRT-RTX load in one release only")
    path = shutil.copytree(bundle("merged", "assistant"), tmp_path / "judge.yoj")
    compile_bundle(CompileJob(path, engine, profiles=[small()], settings=settings), Quiet())
    given = requests(4)
    expected = Scorer.load(path).score_batch(given)
    with Scorer.load(path, engine=engine) as scorer:
        for judgement, right in zip(scorer.score_batch(given), expected, strict=True):
            assert np.abs(np.subtract(judgement.scores, right.scores)).max() <= BOUND


def test_scoring_needs_no_torch(engine, compiled):
    code = (
        "import sys; from yoj.runtime import Scorer;"
        f"Scorer.load(sys.argv[1], engine={engine!r}).score('Which?', ['one', 'two']);"
        "assert not {'torch', 'transformers', 'onnx', 'onnxruntime'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(compiled("merged"))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
