"""The vision tower in 8 and 4 bits: matrices with biases, LayerNorms that are smoothed, plans that say so."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner
from made_up import write_requests
from quiet import Quiet
from random_checkpoint import Sizes, write_checkpoint
from tiers import with_variants
from tiny import RECORDED
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.calibration._collect import CalibratedModel, collect
from yoj.calibration._content import content_hash
from yoj.calibration._errors import CalibrationError
from yoj.calibration._samples import CalibrationSample
from yoj.calibration._search import Found, SearchConfig, search
from yoj.calibration._statistics import Statistics
from yoj.calibration.cli import main as calibrate
from yoj.export._errors import CheckpointError
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.bundle.names import VISION_PREFIX
from yoj.export.bundle.provenance import checkpoint_hashes
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.cli import main
from yoj.export.families import ExportFamily, GraphSpec
from yoj.export.families.opening import open_family
from yoj.export.graph.modules import Projection
from yoj.export.graph.traced import TracedSession
from yoj.export.graph.write import WeightFile, write_graph
from yoj.export.quantisation.config import (
    RANGE,
    QuantisationConfig,
    QuantisationSpec,
    encode_spec,
    matrices,
    quantise_graphs,
    quantised_module,
    read_config,
    write_config,
)
from yoj.export.tensorrt.graphs import for_tensorrt
from yoj.export.verification.fidelity import make_samples
from yoj.runtime.engines.onnxruntime import EXACT_8_BITS, session_options
from yoj.runtime.families import Arrays
from yoj.runtime.manifest import EngineEntry

pytestmark = [pytest.mark.export, pytest.mark.parity]

FAMILIES = ("molmo2", "qwen3_vl")
LAST = {"molmo2": "vision.resblocks.1.feed_forward.w2", "qwen3_vl": "vision.blocks.1.mlp.linear_fc2"}
"""With this one alone quantised, which has a bias, no rounding is carried on into another."""
WIDE = {"molmo2": ("vision.image_projector.w2",), "qwen3_vl": ("vision.merger.linear_fc2",)}


@dataclass
class Source:
    checkpoint: Checkpoint
    family: ExportFamily
    model: CalibratedModel

    @property
    def vision(self) -> GraphSpec:
        return next(spec for spec in self.family.graphs if spec.role == "vision")

    def plan(self, scheme: str, layers, factors=None) -> QuantisationConfig:
        said = QuantisationSpec(scheme=scheme, layers=tuple(layers), checkpoint=checkpoint_hashes(self.checkpoint))
        ranges = {RANGE + name: torch.tensor(6.0) for name in layers} if scheme == "int8_static" else {}
        return QuantisationConfig(said, ranges | (factors or {}))

    def quantised(self, plan: QuantisationConfig) -> list[GraphSpec]:
        return quantise_graphs(self.family.graphs, self.family.smoothing(), plan)

    def media(self) -> list[Arrays]:
        """Inputs of the vision graph for two images and a video."""
        preparer = self.model.preparer
        media = [medium for request in make_samples() for medium in preparer.prepare(request).media]
        assert len(media) == 3
        return [preparer.family.vision_inputs([medium]) for medium in media]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """source(family) -> a tiny checkpoint with two layers in its tower."""

    @functools.cache
    def make(family: str) -> Source:
        folder = tmp_path_factory.mktemp(family) / "checkpoint"
        if family == "molmo2":
            write_checkpoint(Sizes(D=96, intermediate=128, layers=1, vit_layers=2, taps=(-1, -2)), RECORDED, folder)
        else:
            write_qwen(TinyQwen(), folder, hidden_state="post_norm")
        checkpoint = Checkpoint.open([folder])
        return Source(checkpoint, open_family(checkpoint), CalibratedModel.open(checkpoint, "assistant"))

    return make


@pytest.fixture(scope="module")
def whole_tower(source, tmp_path_factory):
    """whole_tower(family) -> the vision graph with all its matrices in 8 bits."""

    @functools.cache
    def make(family: str) -> Path:
        of = source(family)
        return write(of.quantised(of.plan("int8", matrices(of.vision)))[0], of, tmp_path_factory.mktemp(family))

    return make


def write(spec: GraphSpec, source: Source, folder: Path) -> Path:
    (folder / "onnx").mkdir()
    weights = WeightFile(folder / "onnx" / "weights.data", source.checkpoint.weights, lambda _: None)
    return folder / write_graph(spec, folder, weights, torch.float32).file


def run(file: Path, inputs: Arrays, precision: str) -> list[np.ndarray]:
    """As the runtime opens it."""
    engine = EngineEntry(engine="onnxruntime", precision=precision, graphs={})
    options = session_options(ort, engine, 1, [] if precision == "fp8" else [EXACT_8_BITS])
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


@pytest.mark.parametrize(
    ("family", "scheme"),
    with_variants(
        [
            ("molmo2", "int8"),
            ("qwen3_vl", "fp8"),
            ("molmo2", "int8_static"),
            ("qwen3_vl", "int8"),
            ("molmo2", "int8_weights"),
        ],
        always=2,
    ),
)
def test_the_engine_computes_the_features_that_pytorch_computes(family, scheme, source, tmp_path):
    of = source(family)
    specs = of.quantised(of.plan(scheme, [LAST[family]]))
    quantised, whole = (TracedSession.load(of.checkpoint, s, "float32") for s in (specs, of.family.graphs))
    file = write(of.quantised(of.plan(scheme, [LAST[family]]))[0], of, tmp_path)
    for inputs in of.media():
        engine = run(file, inputs, scheme)
        right, plain = (list(session.run("vision", inputs).values()) for session in (quantised, whole))
        for got, expected, unrounded in zip(engine, right, plain, strict=True):
            lost, own = np.abs(expected - unrounded).max(), 3e-6 * np.abs(expected).max()
            if family == "molmo2" or got is not engine[1]:  # the first tap of Qwen3-VL is before the matrix
                assert lost > 10 * own
            # MatMulNBits rounds activations to 8 bits as well, which costs about as much as the 8 bits of the weights.
            rounded = 4.0 if scheme == "int8_weights" else 0.0
            difference = np.abs(got - expected)
            assert np.median(difference) <= own + rounded * lost
            # An input that lies between two steps, of thousands of patches, is rounded to either.
            assert difference.max() <= own + lost / 4 + rounded * lost


@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_all_matrices_but_those_that_make_the_features_are_stored_in_eight_bits(family, source, whole_tower):
    of = source(family)
    names = matrices(of.vision)
    assert all(name.startswith(VISION_PREFIX) for name in names)
    assert not {*names} & {*WIDE[family]}
    types = {t.name: t.data_type for t in onnx.load(whole_tower(family), load_external_data=False).graph.initializer}
    eight = {name for name, kind in types.items() if kind == onnx.TensorProto.INT8}
    assert eight == {f"{name.removeprefix(VISION_PREFIX)}.weight" for name in names}
    for name, module in names.items():
        kept = f"{name.removeprefix(VISION_PREFIX)}.bias"
        assert (types.get(kept) == onnx.TensorProto.FLOAT) == (module.bias is not None)
    for name in WIDE[family]:
        assert types[f"{name.removeprefix(VISION_PREFIX)}.weight"] == onnx.TensorProto.FLOAT


@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_the_form_for_tensorrt_computes_the_same_features(family, source, whole_tower):
    of, file = source(family), whole_tower(family)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # for the CPU fuses one form only
    with for_tensorrt(file) as changed:
        beside = file.with_name("changed.onnx")  # ONNX Runtime reads no weights through a link
        beside.write_bytes(changed.read_bytes())
    types = [t.data_type for t in onnx.load(beside, load_external_data=False).graph.initializer]
    assert onnx.TensorProto.UINT8 not in types
    sessions = [ort.InferenceSession(str(f), options, providers=["CPUExecutionProvider"]) for f in (file, beside)]
    for inputs in of.media():
        for one, other in zip(*(session.run(None, inputs) for session in sessions), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(one).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_factors_change_weights_and_biases_of_norms_and_no_feature(family, source):
    of = source(family)
    draw, plain = torch.Generator().manual_seed(0), of.vision
    groups = [group for group in of.family.smoothing() if group.source.startswith(VISION_PREFIX)]
    factors = {}
    for group in groups:
        width = plain.module.get_submodule(plain.own(group.consumers[0])).weight.shape[0]
        factors[group.source] = torch.rand(width, generator=draw) * 8 + 0.2
    specs = of.quantised(of.plan("int8", [], factors))
    smooth, whole = (TracedSession.load(of.checkpoint, s, "float32") for s in (specs, of.family.graphs))
    for inputs in of.media():
        for one, other in zip(*(session.run("vision", inputs).values() for session in (smooth, whole)), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())
    before, after = (dict(session.module("vision").named_parameters()) for session in (whole, smooth))
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    expected = {f"{plain.own(name)}.weight" for group in groups for name in (group.source, *group.consumers)}
    assert changed == expected | {f"{plain.own(group.source)}.bias" for group in groups}


@pytest.mark.parametrize("scheme", ["int8", "int4_weights"])
def test_a_bias_is_added_to_all_outputs_and_to_parts(scheme):
    whole = Projection(256, 24, bias=True)
    torch.manual_seed(0)
    torch.nn.init.normal_(whole.weight)
    torch.nn.init.normal_(whole.bias)
    plan = QuantisationConfig(QuantisationSpec(scheme=scheme, layers=("a",), checkpoint={}), {})
    x = torch.randn(5, 256)
    with torch.inference_mode():
        with_bias = quantised_module(whole, plan, "a")
        out = with_bias(x)
        torch.testing.assert_close(with_bias.part(x, 3, 20), out[:, 3:20], rtol=0, atol=1e-4)
        bias, whole.bias = whole.bias, None
        torch.testing.assert_close(out - quantised_module(whole, plan, "a")(x), bias.expand(5, 24), rtol=0, atol=1e-4)


# Plans


def test_a_plan_of_the_tower_has_a_version_that_an_older_yoj_refuses(tmp_path):
    names = ("blocks.0.mlp.ff_out", "vision.resblocks.0.feed_forward.w2")
    plans = [QuantisationConfig(QuantisationSpec(scheme="int8", layers=names[:n], checkpoint={}), {}) for n in (1, 2)]
    assert b"schema_version" not in encode_spec(plans[0])
    assert msgspec.json.decode(encode_spec(plans[1]))["schema_version"] == 2
    for number, plan in enumerate(plans):
        write_config(plan, tmp_path / str(number))
        assert read_config(tmp_path / str(number)).spec.layers == names[: number + 1]
    newer = tmp_path / "1" / "quantisation.json"
    newer.write_bytes(newer.read_bytes().replace(b'"schema_version": 2', b'"schema_version": 3'))
    with pytest.raises(CheckpointError, match="schema version 3, this yoj reads up to 2"):
        read_config(tmp_path / "1")


@pytest.mark.parametrize("name", ["vision.resblocks.9.feed_forward.w1", "vision.image_projector.w2"])
def test_matrices_that_the_tower_has_not_or_keeps_are_refused(name, source):
    of = source("molmo2")
    with pytest.raises(CheckpointError, match=f"names the matrix {name}, which vision has not"):
        of.quantised(of.plan("int8", [name]))


def samples_of(of: Source) -> list[CalibrationSample]:
    requests = make_samples()
    tokens = [of.model.preparer.prepare(request).tokens for request in requests]
    return [
        CalibrationSample(k, r, content_hash(r), n) for k, (r, n) in enumerate(zip(requests, tokens, strict=True), 1)
    ]


@pytest.fixture(scope="module")
def found(source, tmp_path_factory):
    """found(scheme, vision) -> statistics of Qwen3-VL, and the plan of all its matrices."""
    of = source("qwen3_vl")
    statistics = collect(of.model, samples_of(of), tmp_path_factory.mktemp("statistics"), lambda _: None)

    @functools.cache
    def make(scheme: str, vision: bool) -> tuple[Statistics, Found]:
        wanted = SearchConfig(scheme, max_flips=1.0, vision=vision)
        return statistics, search(of.model, statistics, make_samples(), wanted, lambda _: None)

    return make


def test_a_plan_without_the_tower_has_nothing_of_it(found):
    _, plain = found("int8_static", False)
    assert not any(VISION_PREFIX in name for name in (*plain.config.spec.layers, *plain.config.factors))


def test_the_tower_is_chosen_from_and_measured_like_the_trunk(source, found):
    of, (statistics, with_tower), (_, plain) = (
        source("qwen3_vl"),
        found("int8_static", True),
        found("int8_static", False),
    )
    tower = set(matrices(of.vision))
    assert {*with_tower.config.spec.layers} == {*plain.config.spec.layers} | tower
    assert with_tower.damage != plain.damage
    alpha = with_tower.config.spec.about["alpha"]
    groups = {name: group.source for group in of.family.smoothing() for name in group.consumers}
    for name in tower:
        factors = with_tower.config.factors.get(groups.get(name, ""), torch.ones(())).numpy()
        largest = (statistics.layers[name].channels() / factors).max()
        assert float(with_tower.config.factors[RANGE + name]) == pytest.approx(largest, rel=1e-6)
        assert alpha == 0 or name not in groups or factors.ndim == 1


def test_what_shows_nothing_of_the_tower_is_refused(source, found):
    of, (statistics, _) = source("qwen3_vl"), found("int8_static", False)
    texts = [request for request in make_samples() if not request.images and request.video is None]
    with pytest.raises(CalibrationError, match="No request has an image or a video"):
        search(of.model, statistics, texts, SearchConfig(vision=True), lambda _: None)
    blind = {
        name: layer.nothing(layer.absmax_SI.shape[1]) if name.startswith(VISION_PREFIX) else layer
        for name, layer in statistics.layers.items()
    }
    with pytest.raises(CalibrationError, match="No sample of the statistics had an image or a video"):
        search(of.model, Statistics(statistics.about, blind), make_samples(), SearchConfig(vision=True), lambda _: None)


@pytest.fixture(scope="module")
def bundled(source, found, tmp_path_factory):
    """A bundle with all matrices quantised, compared with the stock model."""
    of, (_, chosen), folder = source("qwen3_vl"), found("int8_static", True), tmp_path_factory.mktemp("bundle")
    write_config(chosen.config, folder / "plan")
    given = {"precision": "int8_static", "quantisation": folder / "plan"}
    _, fidelity = build(ExportConfig(of.checkpoint.folders, None, "assistant", folder / "q.yoj", **given), Quiet())
    assert fidelity is not None
    assert fidelity.passed
    return folder / "q.yoj"


@pytest.mark.thorough
def test_a_bundle_says_that_its_tower_is_quantised(source, bundled):
    tower = len(matrices(source("qwen3_vl").vision))
    words = f"int8_static: 14 matrices of the trunk, {tower} matrices of the vision tower"
    assert f"| quantised | {words}; everything else float32 |" in (bundled / "README.md").read_text("utf-8")
    shown = CliRunner().invoke(main, ["inspect", str(bundled)])
    assert shown.exit_code == 0, shown.output
    assert words in shown.output
    types = {
        t.data_type for t in onnx.load(bundled / "onnx" / "vision.onnx", load_external_data=False).graph.initializer
    }
    assert onnx.TensorProto.INT8 in types


@pytest.mark.thorough
def test_the_gate_times_the_tower_apart_and_wants_pictures(source, bundled, tmp_path):
    of = source("qwen3_vl")
    build(ExportConfig(of.checkpoint.folders, None, "assistant", tmp_path / "f.yoj", compare=False), Quiet())
    held_out = write_requests(tmp_path / "held_out.jsonl", 60, 5)
    words = ["gate", bundled, tmp_path / "f.yoj", held_out, "--max-flips", "99%", "--max-loss", "99%", "--force"]
    done = CliRunner().invoke(calibrate, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert re.search(r"vision tower \d+\.\d\d times as fast", done.output)
    report = json.loads((bundled / "calibration" / "gate-onnxruntime.json").read_text("utf-8"))
    assert report["vision_speedup"] > 0
    lines = [json.loads(line) for line in held_out.read_text("utf-8").splitlines()]
    texts = [json.dumps({name: value for name, value in line.items() if name != "image"}) for line in lines]
    held_out.write_text("\n".join(texts) + "\n", "utf-8")
    refused = CliRunner().invoke(calibrate, [str(word) for word in words])
    assert refused.exit_code == 1
    assert "no request has an image or a video" in refused.output
