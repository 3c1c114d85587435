"""float16 and bfloat16: what stays in float32, what does not fit into float16, and who runs what."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from quiet import Quiet
from random_checkpoint import Sizes, write_checkpoint
from safetensors.torch import load_file, save_file
from tiers import with_variants
from tiny import RECORDED
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.export._errors import CheckpointError, OutputError
from yoj.export.bundle import _room as room_module
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.cli import main
from yoj.export.families.opening import open_family
from yoj.export.graph.traced import materialise, stream
from yoj.export.verification._float16_range import overflowing_layers, prepare_samples, read_samples
from yoj.export.verification.fidelity import GRID, THRESHOLDS, make_requests, make_samples
from yoj.export.verification.scorer import open_scorer
from yoj.runtime import EngineError, RequestError, Scorer
from yoj.runtime.bundle import Bundle
from yoj.runtime.prepare import Preparer, packing_config
from yoj.runtime.text import TextEncoder

pytestmark = [pytest.mark.export, pytest.mark.parity]

TYPES = {"float16": onnx.TensorProto.FLOAT16, "bfloat16": onnx.TensorProto.BFLOAT16}
FAMILIES = ("molmo2", "qwen3_vl")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """source(family) -> folder of a tiny checkpoint."""

    @functools.cache
    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family) / "checkpoint"
        if family == "molmo2":
            return write_checkpoint(Sizes(), RECORDED, folder)
        return write_qwen(TinyQwen(), folder, hidden_state="post_norm")

    return make


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    """exported(family, precision) -> folder of a bundle and its fidelity."""

    @functools.cache
    def make(family: str, precision: str):
        out = tmp_path_factory.mktemp("bundle") / "judge.yoj"
        _, fidelity = build(ExportConfig([source(family)], None, "assistant", out, precision=precision), Quiet())
        return out, fidelity

    return make


@pytest.mark.parametrize(
    ("family", "precision"),
    with_variants([("molmo2", "float16"), ("qwen3_vl", "bfloat16"), ("molmo2", "bfloat16"), ("qwen3_vl", "float16")]),
)
def test_types_of_the_graphs(family, precision, exported):
    folder, _ = exported(family, precision)
    engine = Bundle.open(folder).engine()
    assert engine.precision == precision
    for role, graph in engine.graphs.items():
        file = folder / graph.file
        # Every operator gets operands of one type, which no kernel of this machine would check for bfloat16.
        onnx.shape_inference.infer_shapes_path(str(file), str(file) + ".typed", check_type=True, strict_mode=True)
        model = onnx.load(str(file) + ".typed", load_external_data=False)
        Path(str(file) + ".typed").unlink()
        assert {spec.dtype for spec in (*graph.inputs, *graph.outputs)} <= {"float32", "int64"}
        ends = (*model.graph.input, *model.graph.output)
        assert {value.type.tensor_type.elem_type for value in ends} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
        types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        kept = {name for name in types if "value_head" in name or "inv_freq" in name}
        assert {types[name] for name in kept} <= {onnx.TensorProto.FLOAT}
        assert bool(kept) == (role != "vision")
        weights = {n for n in types if n not in kept and n.endswith("weight")}
        assert len(weights) > 5
        assert {types[name] for name in weights} == {TYPES[precision]}
        types |= {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *ends)}
        for node in model.graph.node:
            if node.op_type == "RotaryEmbedding":
                assert [types[name] for name in node.input] == [onnx.TensorProto.FLOAT] * 3
            if node.op_type in ("RMSNormalization", "LayerNormalization"):
                (stash,) = [a.i for a in node.attribute if a.name == "stash_type"] or [1]
                assert stash == onnx.TensorProto.FLOAT
            if node.op_type == "Attention":
                assert types[node.input[0]] == TYPES[precision]


@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_float16_takes_half_of_the_room_and_keeps_the_order(family, exported):
    (whole, exact), (half, fidelity) = exported(family, "float32"), exported(family, "float16")
    sizes = [Bundle.open(folder).manifest.files["onnx/weights.data"].bytes for folder in (whole, half)]
    assert 0.5 < sizes[1] / sizes[0] < 0.7  # each of these small tensors is padded to a page
    assert exact.max_abs_diff < fidelity.max_abs_diff <= THRESHOLDS["float16"]
    assert fidelity.top1_agreement == 1
    assert (fidelity.engine, fidelity.precision) == ("onnxruntime", "float16")


@pytest.mark.parametrize("family", with_variants(FAMILIES[::-1]))
def test_bfloat16_is_compared_in_pytorch(family, exported):
    _, fidelity = exported(family, "bfloat16")
    assert (fidelity.engine, fidelity.precision) == ("pytorch", "bfloat16")
    assert 100 * exported(family, "float32")[1].max_abs_diff < fidelity.max_abs_diff <= THRESHOLDS["bfloat16"]


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_loses_more_than_float16(family, exported):
    assert exported(family, "float16")[1].max_abs_diff < exported(family, "bfloat16")[1].max_abs_diff


def test_a_cpu_refuses_bfloat16_and_says_what_to_do(exported):
    folder, _ = exported("qwen3_vl", "bfloat16")
    with pytest.raises(EngineError, match=r"judge\.yoj is in bfloat16\. .*onnxruntime-cuda.*--precision float16"):
        Scorer.load(folder)


@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_streamed_modules_compute_the_same_and_keep_nothing(family, source, exported):
    checkpoint = Checkpoint.open([source(family)])
    scorer = Scorer.load(exported(family, "float32")[0])
    case = next(case for case in GRID if case.name == "two images, N=3")
    (request,) = make_requests(case)
    inputs = scorer.family.vision_inputs(list(scorer.prepare(request).media)[:1])
    found = []
    for load in (materialise, stream):
        spec = open_family(checkpoint).graphs[0]
        module = load(spec, checkpoint)
        with torch.inference_mode():
            output = module(**{name: torch.from_numpy(inputs[name]) for name in spec.inputs})
        found.append(output if isinstance(output, tuple) else (output,))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}


def with_factor(source: Path, folder: Path, name: str, factor: float) -> Path:
    """A copy of a checkpoint in which one tensor is larger."""
    shutil.copytree(source, folder)
    (file,) = folder.glob("model*.safetensors")
    tensors = load_file(file)
    tensors[name] = tensors[name] * factor
    save_file(tensors, file)
    return folder


def overflow_of(folder: Path, exported: Path) -> dict[str, float]:
    """Packed as by a bundle of the same model."""
    checkpoint = Checkpoint.open([folder])
    preparer = Preparer(packing_config(Bundle.open(exported).manifest), TextEncoder.open(exported / "tokenizer.json"))
    batch = [preparer.prepare(request, "joint") for request in make_samples()]
    return overflowing_layers(checkpoint, open_family(checkpoint), batch, preparer.family)


@pytest.mark.parametrize(
    ("family", "name", "layer"),
    [
        ("molmo2", "model.transformer.blocks.1.mlp.ff_out.weight", "scorer.joint: blocks.1.mlp.ff_out"),
        ("molmo2", "model.vision_backbone.image_projector.w3.weight", "vision: image_projector.w3"),
        ("qwen3_vl", "model.language_model.layers.0.mlp.down_proj.weight", "scorer.joint: layers.0.mlp.down_proj"),
    ],
)
def test_layers_that_float16_does_not_hold_are_named(family, name, layer, source, exported, tmp_path):
    bundle = exported(family, "float32")[0]
    assert overflow_of(source(family), bundle) == {}
    overflow = overflow_of(with_factor(source(family), tmp_path / "checkpoint", name, 1e5), bundle)
    assert overflow[layer] > 65_504
    assert list(overflow.values()) == sorted(overflow.values(), reverse=True)


def test_auto_chooses_and_the_manifest_says_why(source, tmp_path):
    name = "model.language_model.layers.1.mlp.down_proj.weight"
    folder = with_factor(source("qwen3_vl"), tmp_path / "checkpoint", name, 1e5)
    out = tmp_path / "judge.yoj"
    build(ExportConfig([folder], None, "assistant", out, precision="auto", compare=False), Quiet())
    manifest = Bundle.open(out).manifest
    assert manifest.engines[0].precision == "bfloat16"
    assert manifest.provenance.float16_overflow is not None
    assert "scorer.joint: layers.1.mlp.down_proj" in manifest.provenance.float16_overflow


def test_without_a_comparison_there_is_no_fidelity_until_it_is_asked_for(source, tmp_path):
    out = tmp_path / "judge.yoj"
    args = [str(source("molmo2")), "--layout", "assistant", "--out", str(out), "--precision", "float16"]
    result = CliRunner().invoke(main, [*args, "--no-compare"])
    assert result.exit_code == 0, result.output
    assert f"Not compared with the stock model: yoj-export verify {out}" in result.output
    assert not (out / "fidelity.json").exists()
    assert "Not compared when it was exported" in (out / "README.md").read_text("utf-8")
    result = CliRunner().invoke(main, ["verify", str(out), "--against", str(source("molmo2"))])
    assert result.exit_code == 0, result.output
    assert "onnxruntime float16 against" in result.output


def test_what_the_memory_cannot_compare_is_refused_before_anything_is_written(source, tmp_path, monkeypatch):
    monkeypatch.setattr(room_module, "free_memory", lambda: 1000)
    out = tmp_path / "judge.yoj"
    with pytest.raises(
        OutputError, match=r"^To compare the bundle .* GB of memory, and .* are free. Export with --no-compare"
    ):
        build(ExportConfig([source("molmo2")], None, "assistant", out), Quiet())
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_in_bfloat16_scores_with_the_traced_modules(source, exported):
    checkpoint = Checkpoint.open([source("qwen3_vl")])
    scorer = open_scorer(Bundle.open(exported("qwen3_vl", "bfloat16")[0]), checkpoint, open_family(checkpoint))
    exact = Scorer.load(exported("qwen3_vl", "float32")[0])
    rounded, whole = (np.array(of.score("Which?", ["a cat", "two dogs"]).scores) for of in (scorer, exact))
    assert 0 < np.abs(rounded - whole).max() < THRESHOLDS["bfloat16"]


@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_float16_holds_sums_and_features_of_any_size(family, source, tmp_path):
    """What enters the trunk from the picture goes far beyond float16 here, as it does in trained judges."""
    name = {"molmo2": "image_projector.w2.weight", "qwen3_vl": "merger.linear_fc2.weight"}[family]
    (whole,) = [n for n in Checkpoint.open([source(family)]).weights.names() if n.endswith(f".{name}")]
    folder = with_factor(source(family), tmp_path / "checkpoint", whole, 5e4)
    out = tmp_path / "judge.yoj"
    _, fidelity = build(ExportConfig([folder], None, "assistant", out, precision="float16"), Quiet())
    assert fidelity.max_abs_diff <= THRESHOLDS["float16"]
    scorer = Scorer.load(out)
    prepared = scorer.prepare(make_samples()[1])
    features = scorer._session.run("vision", scorer.family.vision_inputs(list(prepared.media)[:1]))
    assert max(np.abs(values).max() for values in features.values()) > 65_504


def test_samples_of_ones_own_are_read_as_requests(tmp_path):
    picture = tmp_path / "picture.png"
    Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(picture)
    file = tmp_path / "samples.jsonl"
    file.write_text('{"prompt": "What?", "responses": ["a", "b"], "image": "picture.png"}\n', "utf-8")
    ((number, request),) = read_samples(file).items()
    assert number == 1
    assert (request.prompt, list(request.images)) == ("What?", [picture])
    file.write_text('{"prompt": "What?", "responses": ["a", "b"]}\n', "utf-8")
    with pytest.raises(CheckpointError, match="none of the first 16 requests has an image or a video"):
        read_samples(file)
    file.write_text('{"prompt": "What?"}\n', "utf-8")
    with pytest.raises(RequestError, match=r"samples\.jsonl, line 1: The request has no responses"):
        read_samples(file)
    file.write_text("\n", "utf-8")
    with pytest.raises(CheckpointError, match=r"samples\.jsonl is empty"):
        read_samples(file)


def test_a_sample_that_cannot_be_prepared_is_named_with_its_line(exported, tmp_path):
    folder, _ = exported("molmo2", "float32")
    preparer = Preparer(packing_config(Bundle.open(folder).manifest), TextEncoder.open(folder / "tokenizer.json"))
    file = tmp_path / "samples.jsonl"
    Image.fromarray(np.full((40, 60, 3), 200, np.uint8)).save(tmp_path / "here.png")
    lines = [{"prompt": "What?", "responses": ["a", "b"], "image": name} for name in ("here.png", "gone.png")]
    file.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    with pytest.raises(CheckpointError, match=r"samples\.jsonl, line 2: .*gone\.png"):
        prepare_samples(file, preparer)


def test_a_layer_that_gives_nan_is_an_error_and_not_small(source, exported, tmp_path):
    name = "model.transformer.blocks.1.mlp.ff_proj.weight"
    folder = with_factor(source("molmo2"), tmp_path / "checkpoint", name, float("nan"))
    with pytest.raises(CheckpointError, match=r"scorer\.joint: blocks\.1\.mlp\.ff_proj gives nan in float32"):
        overflow_of(folder, exported("molmo2", "float32")[0])
