"""Attention in blocks of queries computes what the operator computes, reads no hidden key, and can be undone."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from yoj.export.graph._blocked_attention import BLOCKS, join_queries, query_blocks, split_queries
from yoj.export.graph.precision import PRECISIONS
from yoj.runtime.batch import SHORTEST_ROW

pytestmark = pytest.mark.parity

HEADS, KEY_HEADS, SIZE = 4, 2, 8


def whole(masked: bool, queries: str = "L") -> onnx.ModelProto:
    """A graph of two Attention nodes, one after the other, as layers share a mask."""
    shapes = {"q": [HEADS, queries, SIZE], "k": [KEY_HEADS, "L", SIZE], "v": [KEY_HEADS, "L", SIZE]}
    inputs = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", *s]) for name, s in shapes.items()]
    if masked:
        inputs.append(onnx.helper.make_tensor_value_info("mask", TensorProto.BOOL, ["B", 1, queries, "L"]))
    names = [value.name for value in inputs[1:]]
    nodes = [
        onnx.helper.make_node("Attention", ["q", *names], ["first"], "layer_0", is_causal=int(not masked)),
        onnx.helper.make_node("Attention", ["first", *names], ["second"], "layer_1", is_causal=int(not masked)),
        onnx.helper.make_node("Identity", ["second"], ["out"]),
    ]
    out = onnx.helper.make_tensor_value_info("out", TensorProto.FLOAT, ["B", *shapes["q"]])
    opset = [onnx.helper.make_opsetid("", 23)]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", inputs, [out]), opset_imports=opset, ir_version=10)


def in_blocks(model: onnx.ModelProto) -> onnx.ModelProto:
    split = ir.serde.deserialize_model(model)
    split_queries(split)
    return ir.serde.serialize_model(split)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node if node.op_type != "Identity"]


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    onnx.checker.check_model(model)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def sessions():
    return {m: (session(whole(m)), session(in_blocks(whole(m)))) for m in (False, True)}


def arrays(seed: int, batch: int, length: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    heads = {"q": HEADS, "k": KEY_HEADS, "v": KEY_HEADS}
    return {name: rng.normal(size=(batch, of, length, SIZE)).astype(np.float32) for name, of in heads.items()}


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    batch=st.integers(1, 3),
    length=st.integers(SHORTEST_ROW, 200),
    density=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    causal=st.booleans(),
)
def test_blocks_compute_what_the_operator_computes(sessions, seed, batch, length, density, causal):
    """Under any mask under which each query sees itself, a prompt that is read in both directions among them."""
    given_arrays, rng = arrays(seed, batch, length), np.random.default_rng(seed)
    mask = rng.random((batch, 1, length, length)) < density
    mask = (np.tril(mask) if causal else mask) | np.eye(length, dtype=bool)
    for masked in (False, True):
        more = {"mask": mask} if masked else {}
        expected, got = (s.run(None, given_arrays | more)[0] for s in sessions[masked])
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_a_hidden_key_is_not_read(sessions, masked):
    """NaN times 0 is NaN, so that one which is read, though the mask hides it, would show."""
    given_arrays, length = arrays(0, 1, 64), 64
    more = {"mask": np.tril(np.ones((1, 1, length, length), bool))} if masked else {}
    given_arrays["v"][:, :, length // 2 :] = np.nan
    operator, blocks = (s.run(None, given_arrays | more)[0] for s in sessions[masked])
    assert np.isnan(operator).all()
    assert np.isfinite(blocks[:, :, : length // 2]).all()
    assert np.isnan(blocks[:, :, length // 2 :]).all()


def test_layers_share_the_blocks_of_their_mask():
    masked, causal = in_blocks(whole(True)), in_blocks(whole(False))
    assert operators(masked) == ["QueryBlocks", "BlockedAttention", "BlockedAttention"]
    assert operators(causal) == ["CausalMask", "QueryBlocks", "BlockedAttention", "BlockedAttention"]
    for model in (masked, causal):
        assert {function.name for function in model.functions} == set(operators(model))


def test_attention_of_some_rows_and_of_all_to_all_stays_whole():
    rows, everything = whole(True, "N"), whole(False)
    for node in everything.graph.node[:2]:
        node.attribute[0].i = 0
    for model in (rows, everything):
        assert in_blocks(model).graph.node == model.graph.node
        assert not in_blocks(model).functions


@pytest.mark.parametrize("masked", [False, True])
def test_joined_queries_are_the_operator_again(masked):
    model = in_blocks(whole(masked))
    assert join_queries(model)
    assert model.graph.node == whole(masked).graph.node
    assert [imported.domain for imported in model.opset_import] == [""]
    assert not model.functions
    assert not join_queries(model)


def test_graphs_of_half_precision_stay_whole():
    assert {name: query_blocks(dtype) for name, dtype in PRECISIONS.items()} == {
        "float32": BLOCKS,
        "float16": 1,
        "bfloat16": 1,
    }
