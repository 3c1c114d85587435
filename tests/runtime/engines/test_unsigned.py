"""8-bit matrices made unsigned in memory: the same products, one copy of the weights, and a file that stays."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest
from onnx import TensorProto
from quiet import Quiet
from random_checkpoint import Sizes, write_checkpoint
from tiers import with_variants
from tiny import RECORDED
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.bundle.provenance import checkpoint_hashes
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.quantisation._unsigned import write_unsigned
from yoj.export.quantisation.config import QuantisationConfig, QuantisationSpec, matrices, write_config
from yoj.runtime import Scorer
from yoj.runtime.bundle import WEIGHTS, Bundle
from yoj.runtime.engines import onnxruntime as engine_module
from yoj.runtime.engines.onnxruntime import open_graph, session_options
from yoj.runtime.engines.unsigned import UNPACKED, flipped
from yoj.runtime.errors import EngineError
from yoj.runtime.held import HeldFiles
from yoj.runtime.manifest import EngineEntry

pytestmark = [pytest.mark.export, pytest.mark.parity]

RESPONSES = ["A cat.", "Two dogs on a red sofa.", "Nothing.", "?"]
CPU = ["CPUExecutionProvider"]
INT8 = EngineEntry(engine="onnxruntime", precision="int8", graphs={})


@pytest.fixture(scope="module", params=with_variants(["qwen3_vl with embeddings", "molmo2", "qwen3_vl"]))
def quantised(request, tmp_path_factory) -> Path:
    """A bundle in which all matrices, and in the first the rows of embeddings too, have 8 bits."""
    family, *embeddings = request.param.split()
    folder = tmp_path_factory.mktemp(family)
    if family == "molmo2":
        write_checkpoint(Sizes(D=160, intermediate=200), RECORDED, folder / "checkpoint")
    else:
        write_qwen(TinyQwen(), folder / "checkpoint", hidden_state="post_norm")
    checkpoint = Checkpoint.open([folder / "checkpoint"])
    scorer = next(spec for spec in open_family(checkpoint).graphs if spec.role == "scorer.joint")
    hashes = checkpoint_hashes(checkpoint)
    said = QuantisationSpec(
        scheme="int8", layers=tuple(matrices(scorer)), embeddings=bool(embeddings), checkpoint=hashes
    )
    write_config(QuantisationConfig(said, {}), folder / "plan")
    recipe = ExportConfig([folder / "checkpoint"], None, "assistant", folder / "q.yoj", precision="int8",
                    quantisation=folder / "plan", compare=False)  # fmt: skip
    build(recipe, Quiet())
    return folder / "q.yoj"


def scores(path: Path, mode="joint") -> tuple[float, ...]:
    with Scorer.load(path, threads=1) as scorer:
        return scorer.score("Which is shown?", RESPONSES, mode=mode).scores


@pytest.mark.parametrize("mode", ["joint", "isolated"])
def test_scores_are_those_of_signed_matrices(mode, quantised, monkeypatch):
    monkeypatch.setattr(engine_module, "wrong_product", lambda *_: (20_400.0, 2_580_640.0))
    unsigned = scores(quantised, mode)
    monkeypatch.setattr(engine_module, "flipped", lambda *_: None)
    # The products of 8 bits are equal; float32 ones, such as those of the value head, are summed in another order.
    np.testing.assert_allclose(unsigned, scores(quantised, mode), rtol=0, atol=2e-6)
    assert len(set(unsigned)) == len(RESPONSES)


def test_the_weights_are_in_memory_once_and_the_file_stays(quantised, monkeypatch):
    monkeypatch.setattr(engine_module, "wrong_product", lambda *_: (20_400.0, 2_580_640.0))
    before = (quantised / WEIGHTS).read_bytes()
    with Scorer.load(quantised, modes=["joint", "isolated"]) as scorer:
        held = [scorer._session._sessions.get(role).weights for role in ("scorer.joint", "scorer.segmented")]
        assert held[0] is held[1]
        engine = scorer.engine
    assert (quantised / WEIGHTS).read_bytes() == before
    places = engine.graphs["scorer.joint"].unsigned.matrices
    inside = np.zeros(len(before), bool)
    for begin, length in places:
        inside[begin : begin + length] = True
    changed = np.frombuffer(before, np.uint8) ^ held[0]
    assert set(changed[inside]) == {128}
    assert set(changed[~inside]) == {0}


def test_a_closed_scorer_stays_closed_and_a_pickled_one_opens(quantised, monkeypatch):
    monkeypatch.setattr(engine_module, "wrong_product", lambda *_: (20_400.0, 2_580_640.0))
    scorer = Scorer.load(quantised, modes=["isolated"])
    found = scorer.score("Which?", RESPONSES, mode="isolated").scores
    sent = pickle.dumps(scorer)
    scorer.close()
    with pytest.raises(EngineError, match="closed"):
        scorer.score("Which?", RESPONSES, mode="isolated")
    with pickle.loads(sent) as again:
        assert again.score("Which?", RESPONSES, mode="isolated").scores == found


def test_every_product_is_fused_and_none_is_signed(quantised, tmp_path):
    engine = Bundle.open(quantised).engine()
    graph = engine.graphs["scorer.joint"]
    options = session_options(onnxruntime, engine, 1, [UNPACKED])
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    files = HeldFiles(quantised)
    content = flipped(files[WEIGHTS], graph.unsigned.matrices)
    open_graph(onnxruntime, files, graph.unsigned.file, options, CPU, content)
    optimised = onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph
    operators = [node.op_type for node in optimised.node]
    assert operators.count("MatMulIntegerToFloat") == len(graph.unsigned.matrices)
    assert "DequantizeLinear" not in operators
    types = {tensor.name: tensor.data_type for tensor in optimised.initializer}
    right = [types[node.input[1]] for node in optimised.node if node.op_type == "MatMulIntegerToFloat"]
    assert set(right) == {TensorProto.UINT8}


def test_full_scale_rows_have_exact_products(tmp_path):
    width, out = 96, 24
    draw = np.random.default_rng(0)
    left, right = draw.choice([-128, 127], (7, width)), draw.choice([-127, 127], (width, out))
    left[0], right[:, 0] = 127, 127
    (tmp_path / "onnx").mkdir()
    (tmp_path / WEIGHTS).write_bytes(b"\x01" * 64 + right.astype(np.int8).tobytes() + b"\x01")
    stored = TensorProto(name="right", data_type=TensorProto.INT8, dims=right.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", Path(WEIGHTS).name), ("offset", "64"), ("length", str(right.size))):
        stored.external_data.add(key=key, value=value)
    make = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            make("QuantizeLinear", ["left", "one", "zero"], ["bytes"]),
            make("DequantizeLinear", ["bytes", "one", "zero"], ["rounded"]),
            make("DequantizeLinear", ["right", "ones"], ["whole"], axis=1),
            make("MatMul", ["rounded", "whole"], ["out"]),
        ],
        "product",
        [onnx.helper.make_tensor_value_info("left", TensorProto.FLOAT, ["L", width])],
        [onnx.helper.make_tensor_value_info("out", TensorProto.FLOAT, ["L", out])],
        [
            stored,
            onnx.numpy_helper.from_array(np.array(1, np.float32), "one"),
            onnx.numpy_helper.from_array(np.array(128, np.uint8), "zero"),
            onnx.numpy_helper.from_array(np.ones(out, np.float32), "ones"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)], ir_version=10)
    onnx.save(model, tmp_path / "onnx" / "product.onnx")
    entry = write_unsigned(tmp_path, "onnx/product.onnx")
    files = HeldFiles(tmp_path)
    options = session_options(onnxruntime, INT8, 1, [UNPACKED])
    session = open_graph(onnxruntime, files, entry.file, options, CPU, flipped(files[WEIGHTS], entry.matrices))
    found = session.run(None, {"left": left.astype(np.float32)})[0]
    np.testing.assert_array_equal(found.astype(np.int64), left @ right)


def test_a_graph_without_8_bit_matrices_stands_alone(bundle):
    manifest = Bundle.open(bundle("merged", "assistant")).manifest
    assert {graph.unsigned for graph in manifest.engines[0].graphs.values()} == {None}
    assert not any("unsigned" in name for name in manifest.files)
