"""Graphs with 8- and 4-bit matrices: they compute what PyTorch computes, and lose what the plan says."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from quiet import Quiet
from random_checkpoint import Sizes, write_checkpoint
from tiers import with_variants
from tiny import RECORDED
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.export._errors import CheckpointError
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.bundle.provenance import checkpoint_hashes
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.graph.traced import TracedSession
from yoj.export.quantisation.config import (
    RANGE,
    QuantisationConfig,
    QuantisationSpec,
    matrices,
    quantise_graphs,
    read_config,
    write_config,
)
from yoj.export.quantisation.schemes import BLOCK, FP8, INT8, pack_blocks, quantise, unpack_blocks
from yoj.export.verification.fidelity import make_samples
from yoj.runtime import Scorer
from yoj.runtime.bundle import Bundle
from yoj.runtime.engines.onnxruntime import session_options

pytestmark = [pytest.mark.export, pytest.mark.parity]

FAMILIES = ("molmo2", "qwen3_vl")
LAST = {"molmo2": "blocks.1.mlp.ff_out", "qwen3_vl": "layers.1.mlp.down_proj"}
"""With this one alone quantised, no rounding is carried on: engines agree to float32's own error."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """source(family) -> a tiny checkpoint, its family, and the names of its matrices."""

    @functools.cache
    def make(family: str):
        folder = tmp_path_factory.mktemp(family) / "checkpoint"
        if family == "molmo2":
            write_checkpoint(Sizes(D=160, intermediate=200), RECORDED, folder)
        else:
            write_qwen(TinyQwen(), folder, hidden_state="post_norm")
        checkpoint = Checkpoint.open([folder])
        opened = open_family(checkpoint)
        return folder, checkpoint, opened, tuple(matrices(opened.graphs[1]))

    return make


def plan_of(checkpoint: Checkpoint, scheme: str, layers, **changes) -> QuantisationConfig:
    said = QuantisationSpec(scheme=scheme, layers=tuple(layers), checkpoint=checkpoint_hashes(checkpoint), **changes)
    ranges = {RANGE + name: torch.tensor(6.0) for name in layers} if scheme == "int8_static" else {}
    return QuantisationConfig(said, ranges)


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    """exported(family, scheme) -> a bundle whose last matrix is quantised, and its plan."""

    @functools.cache
    def make(family: str, scheme: str) -> tuple[Path, QuantisationConfig]:
        folder, checkpoint, _, _ = source(family)
        place = tmp_path_factory.mktemp("bundle")
        plan = plan_of(checkpoint, scheme, [LAST[family]])
        write_config(plan, place / "plan")
        recipe = ExportConfig(
            [folder], None, "assistant", place / "q.yoj", precision=scheme, quantisation=place / "plan"
        )
        build(recipe, Quiet())
        return place / "q.yoj", plan

    return make


CASES = [("molmo2", "int8"), ("qwen3_vl", "fp8"), ("molmo2", "int4_weights")]
CASES += [("molmo2", "int8_static"), ("qwen3_vl", "int8_weights"), ("qwen3_vl", "int8"), ("molmo2", "fp8")]


@pytest.mark.parametrize(("family", "scheme"), with_variants(CASES))
def test_the_engine_computes_what_pytorch_computes(family, scheme, source, exported):
    path, plan = exported(family, scheme)
    _, checkpoint, opened, _ = source(family)
    scorer = Scorer.load(path)
    assert scorer.engine.precision == scheme
    specs = quantise_graphs(opened.graphs, opened.smoothing(), plan)
    quantised, whole = (TracedSession.load(checkpoint, of, "float32") for of in (specs, opened.graphs))
    batch = [scorer.prepare(request) for request in make_samples()]
    engine = scorer.outputs(batch)["scores"]
    for row, prepared in zip(engine, batch, strict=True):
        right = quantised.score([prepared], scorer.family)["scores"][0]
        plain = whole.score([prepared], scorer.family)["scores"][0]
        difference = np.abs(row[: len(right)] - right).max()
        # MatMulNBits rounds activations to 8 bits as well, which costs about as much as the 8 bits of the weights.
        rounded = {"int8_weights": 4.0, "int4_weights": 0.5}.get(scheme, 0.0)
        assert difference <= 2e-6 + rounded * np.abs(right - plain).max()
        assert np.abs(right - plain).max() > 2e-6


@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_eight_bit_products_are_fused_for_the_cpu(family, exported, tmp_path):
    import onnxruntime as ort

    path, _ = exported(family, "int8")
    engine = Bundle.open(path).engine()
    options = session_options(ort, engine, 1)
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    graph = engine.graphs["scorer.joint"].file
    ort.InferenceSession(str(path / graph), options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph.node]
    assert operators.count("MatMulIntegerToFloat") == 1
    assert "DequantizeLinear" not in operators


def test_weights_are_stored_in_eight_bits_only(exported):
    path, plan = exported("molmo2", "int8")
    model = onnx.load(path / "onnx" / "scorer.joint.onnx", load_external_data=False)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    (name,) = plan.spec.layers
    assert types[f"{name}.weight"] == onnx.TensorProto.INT8
    assert types[f"{name}.weight_scale"] == onnx.TensorProto.FLOAT
    assert sum(kind == onnx.TensorProto.INT8 for kind in types.values()) == 1
    assert read_plan_in(path) == plan.spec


def read_plan_in(path: Path) -> QuantisationSpec:
    return msgspec.json.decode((path / "quantisation.json").read_bytes(), type=QuantisationSpec)


@pytest.mark.parametrize("family", FAMILIES)
def test_factors_change_no_score_and_do_change_weights(family, source):
    _, checkpoint, opened, _ = source(family)
    draw = torch.Generator().manual_seed(0)
    spec = opened.graphs[1]
    factors, groups = {}, [group for group in opened.smoothing() if spec.own(group.source) is not None]
    for group in groups:
        width = spec.module.get_submodule(group.consumers[0]).weight.shape[0]
        factors[group.source] = torch.rand(width, generator=draw) * 8 + 0.2
    plan = QuantisationConfig(plan_of(checkpoint, "int8", []).spec, factors)
    specs = quantise_graphs(opened.graphs, opened.smoothing(), plan)
    smooth, plain = (TracedSession.load(checkpoint, of, "float32") for of in (specs, opened.graphs))
    from yoj.calibration._collect import CalibratedModel

    preparer = CalibratedModel.open(checkpoint, "assistant").preparer
    for request in make_samples():
        prepared = preparer.prepare(request)
        scores = [of.score([prepared], preparer.family)["scores"] for of in (smooth, plain)]
        np.testing.assert_allclose(*scores, rtol=0, atol=5e-6)
    weights = [dict(of.module("scorer.joint").named_parameters()) for of in (smooth, plain)]
    changed = {name for name, value in weights[1].items() if not torch.equal(value, weights[0][name])}
    assert changed == {f"{name}.weight" for group in groups for name in (group.source, *group.consumers)}


@pytest.mark.thorough  # of one quantised bundle in test_unsigned.py
def test_rows_of_the_embedding_table_in_eight_bits(source, tmp_path):
    folder, checkpoint, opened, layers = source("molmo2")
    plan = plan_of(checkpoint, "int8", layers, embeddings=True)
    write_config(plan, tmp_path / "plan")
    given = {"precision": "int8", "quantisation": tmp_path / "plan", "base_precision": "float16", "compare": False}
    manifest, _ = build(ExportConfig([folder], None, "assistant", tmp_path / "q.yoj", **given), Quiet())
    assert (manifest.engines[0].precision, manifest.engines[0].base_precision) == ("int8", "float16")
    whole = TracedSession.load(checkpoint, opened.graphs, "float32")
    scorer = Scorer.load(tmp_path / "q.yoj")
    for request in make_samples():
        prepared = scorer.prepare(request)
        right = whole.score([prepared], scorer.family)["scores"][0]
        assert np.abs(scorer.outputs([prepared])["scores"][0] - right).max() < 0.1


# The numbers themselves


@pytest.mark.parametrize("storage", [INT8, FP8], ids=["int8", "fp8"])
def test_rounding_is_within_half_a_step_of_each_scale(storage):
    weight = torch.randn(96, 40, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 2, 40)
    values, scale = quantise(weight, storage, 0, torch.float32)
    assert scale.shape == (40,)
    assert float(values.float().abs().max()) == storage.largest
    error = (values.float() * scale - weight).abs()
    step = scale if storage is INT8 else weight.abs() / 8 + scale / 512
    assert (error <= step * 0.5001).all()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("width", [BLOCK, BLOCK + 40])
def test_blocks_unpack_to_what_was_packed(bits, width):
    weight = torch.randn(width, 24, generator=torch.Generator().manual_seed(2))
    values, scale = pack_blocks(weight, bits, torch.float32)
    found = unpack_blocks(values, scale, bits)[:, :width].t()
    steps = scale.repeat_interleave(BLOCK, dim=1)[:, :width].t()
    assert ((found - weight).abs() <= 0.5001 * steps).all()


# What is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": "fp8"}, ["is a config for int8", "--precision int8"]),
        ({"precision": "float32"}, ["--quantisation is for", "float32"]),
        ({"precision": "int8", "quantisation": None}, ["int8 needs --quantisation"]),
        (
            {"precision": "float32", "quantisation": None, "base_precision": "float16"},
            ["--base-precision goes with --quantisation"],
        ),
        ({"precision": "int8", "base_precision": "bfloat16"}, ["--no-compare"]),
    ],
)
def test_a_plan_that_does_not_fit_what_is_asked_is_refused(change, words, source, tmp_path):
    folder, checkpoint, _, layers = source("molmo2")
    write_config(plan_of(checkpoint, "int8", layers[:1]), tmp_path / "plan")
    given = {"quantisation": tmp_path / "plan"} | change
    with pytest.raises(CheckpointError) as caught:
        build(ExportConfig([folder], None, "assistant", tmp_path / "q.yoj", **given), Quiet())
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not (tmp_path / "q.yoj").exists()


def test_a_plan_for_another_checkpoint_is_refused(source, tmp_path):
    folder, checkpoint, _, layers = source("molmo2")
    other = shutil.copytree(folder, tmp_path / "other")
    config = other / "config.json"
    config.write_text(config.read_text("utf-8") + "\n", "utf-8")
    write_config(plan_of(checkpoint, "int8", layers[:1]), tmp_path / "plan")
    recipe = ExportConfig(
        [other], None, "assistant", tmp_path / "q.yoj", precision="int8", quantisation=tmp_path / "plan"
    )
    with pytest.raises(CheckpointError, match="was made for another checkpoint"):
        build(recipe, Quiet())


def test_a_plan_with_matrices_or_factors_that_the_model_has_not_is_refused(source, tmp_path):
    _, checkpoint, opened, layers = source("molmo2")
    for plan, word in (
        (plan_of(checkpoint, "int8", ["blocks.9.mlp.ff_out"]), "blocks.9.mlp.ff_out"),
        (
            QuantisationConfig(plan_of(checkpoint, "int8", layers).spec, {"blocks.0.attn_norm": torch.ones(3)}),
            "blocks.0.attn_norm",
        ),
        (QuantisationConfig(plan_of(checkpoint, "int8_static", layers).spec, {}), "has no range for"),
    ):
        with pytest.raises(CheckpointError, match=word):
            quantise_graphs(opened.graphs, opened.smoothing(), plan)


def test_a_damaged_plan_is_refused(tmp_path):
    (tmp_path / "quantisation.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"quantisation\.json is no quantisation config"):
        read_config(tmp_path)
    write_config(
        QuantisationConfig(QuantisationSpec(scheme="int8", layers=(), checkpoint={}), {"a": torch.ones(99)}), tmp_path
    )
    (tmp_path / "quantisation.safetensors").write_bytes((tmp_path / "quantisation.safetensors").read_bytes()[:20])
    with pytest.raises(CheckpointError, match=r"quantisation\.json is no quantisation config"):
        read_config(tmp_path)
    file = tmp_path / "quantisation.json"
    write_config(QuantisationConfig(QuantisationSpec(scheme="int8", layers=(), checkpoint={}), {}), tmp_path)
    file.write_text(file.read_text().replace('"int8"', '"int9"'))
    with pytest.raises(
        CheckpointError, match=r"scheme is 'int9'; this yoj knows int8, int8_static, fp8, int8_weights, "
    ):
        read_config(tmp_path)
