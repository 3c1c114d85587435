"""Plans of quantised graphs, built without a GPU; the form that TensorRT takes computes the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from quiet import Quiet
from test_compile import JUDGES, SMALL, content, shorten, untouched
from tiers import with_variants
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.bundle.provenance import checkpoint_hashes
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.quantisation.config import QuantisationConfig, QuantisationSpec, matrices, write_config
from yoj.export.tensorrt._compile import CompileJob, compile_bundle
from yoj.export.tensorrt.graphs import FIRST_TARGET, check_scheme, for_tensorrt
from yoj.export.verification.fidelity import make_samples
from yoj.runtime import Scorer
from yoj.runtime.batch import scorer_inputs
from yoj.runtime.errors import EngineError

pytestmark = pytest.mark.export

pytest.importorskip("tensorrt_rtx_bindings", reason="plans are built for real: pip install 'yoj[trt-rtx]'")


def export(judge: Path, folder: Path, scheme: str, rest: str, tower: bool = True) -> Path:
    """A bundle with all matrices, those of the vision tower too, and, in int8, the embedding table quantised."""
    checkpoint = Checkpoint.open([judge])
    vision, scorer, _ = open_family(checkpoint).graphs
    layers = (*matrices(scorer), *(matrices(vision) if tower else ()))
    said = QuantisationSpec(
        scheme=scheme, layers=layers, embeddings=scheme == "int8", checkpoint=checkpoint_hashes(checkpoint)
    )
    write_config(QuantisationConfig(said, {}), folder / "plan")
    given = {"precision": scheme, "quantisation": folder / "plan", "base_precision": rest, "compare": False}
    build(ExportConfig([judge], None, "assistant", folder / "judge.yoj", **given), Quiet())
    return folder / "judge.yoj"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("family", "scheme", "rest", "targets"),
    [
        ("molmo2", "int8", "bfloat16", ["sm86"]),
        ("qwen3_vl", "fp8", "float16", ["sm89", "sm120"]),
    ],
)
def test_plans_of_the_small_judges_in_8_bits(family, scheme, rest, targets, tmp_path):
    """A model with as many layers of the trunk as differ; every matrix of it and of the tower is quantised."""
    judge = shorten(JUDGES / f"shapes-{family}", tmp_path / "checkpoint", 3)
    path = export(judge, tmp_path, scheme, rest)
    built = compile_bundle(CompileJob(path, "tensorrt-rtx", targets=targets), Quiet())
    for entry, target in zip(built, targets, strict=True):
        assert (entry.engine, entry.precision, entry.base_precision) == ("tensorrt-rtx", scheme, rest)
        assert entry.plans is not None
        assert entry.plans.target == target
        for role, graph in entry.graphs.items():
            assert {spec.dtype for spec in (*graph.inputs, *graph.outputs)} <= {"float32", "int64"}
            assert graph.file.startswith(f"engines/tensorrt-rtx-{scheme}-{target}/{role}.")


@pytest.fixture(scope="module", params=with_variants(["tiny", "molmo2"]))
def eight(request, tmp_path_factory) -> Path:
    """Two layers, so that rounding is not carried far."""
    folder = tmp_path_factory.mktemp("eight")
    if request.param == "molmo2":
        return export(shorten(JUDGES / "shapes-molmo2", folder / "checkpoint", 2), folder, "int8", "float32")
    checkpoint = write_qwen(TinyQwen(), folder / "checkpoint", hidden_state="post_norm")
    return export(checkpoint, folder, "int8", "float32", tower=False)


def test_the_form_for_tensorrt_computes_the_same(eight):
    scorer = Scorer.load(eight)
    graph = scorer.engine.graphs["scorer.joint"].file
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # for the CPU fuses one form only
    prepared = [scorer.prepare(request) for request in make_samples()[:1]]
    inputs = scorer_inputs(prepared, scorer.family, {}) | scorer._no_media()
    scores = []
    with for_tensorrt(eight / graph) as changed:
        assert changed != eight / graph
        types = {t.name: t.data_type for t in onnx.load(changed, load_external_data=False).graph.initializer}
        assert onnx.TensorProto.UINT8 not in types.values()
        # ONNX Runtime reads no weights through a link.
        beside = Path(shutil.copy(changed, (eight / graph).with_name("changed.onnx")))
        for file in (eight / graph, beside):
            session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            names = [tensor.name for tensor in session.get_inputs()]
            scores.append(session.run(None, {name: inputs[name] for name in names})[0])
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-5)


def test_a_graph_without_blocks_and_quantised_matrices_stays_as_it_is(bundle):
    folder = bundle("merged", "assistant") / "onnx"
    with for_tensorrt(folder / "vision.onnx") as same:
        assert same == folder / "vision.onnx"
    with for_tensorrt(folder / "scorer.joint.onnx") as changed:
        assert {node.domain for node in onnx.load(changed, load_external_data=False).graph.node} == {""}


def test_a_scheme_that_a_target_has_not_is_refused_with_those_that_it_has(eight, tmp_path):
    path = shutil.copytree(eight, tmp_path / "judge.yoj")
    check_scheme("int8", ["sm86"])
    check_scheme("float16", ["sm86"])
    for scheme, targets in (("fp8", ["sm86", "sm89"]), ("int4_weights", ["sm89"]), ("fp8", ["sm80+"])):
        with pytest.raises(
            EngineError, match=f"no products of {scheme} for {targets[0]}.*int8.*yoj-calibrate quantisation"
        ):
            check_scheme(scheme, targets)
    before = content(path)
    with pytest.raises(EngineError, match="sm99"):
        compile_bundle(CompileJob(path, "tensorrt-rtx", targets=["sm99"], profiles=SMALL), Quiet())
    untouched(path, before)
    assert set(FIRST_TARGET) == {"int8", "int8_static", "fp8"}
