"""The graphs in ONNX Runtime against the stock model, on shapes that were not traced; and what is in them."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from graph_checks import FORBIDDEN, TOLERANCE, describe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_checkpoint import Sizes, write_checkpoint
from safetensors.torch import load_file, save_file
from tiers import with_variants
from tiny import RECORDED, Exported, make_request

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.checkpoint.head import ACTIVATIONS, HEADS
from yoj.export.families.opening import open_family
from yoj.export.graph._blocked_attention import join_queries
from yoj.export.graph.write import INLINE_BYTES
from yoj.export.verification.stock_model import StockModel
from yoj.runtime.batch import SHORTEST_ROW
from yoj.runtime.manifest import Readout
from yoj.runtime.packing import Pack

pytestmark = [pytest.mark.export, pytest.mark.parity]

MODELS = {
    "plain": Sizes(),
    "heads wider than D, other crops": Sizes(
        "mlp", "tanh", "first_last_sub", 16, D=80, heads=4, kv_heads=2, head_dim=40, intermediate=56, rope_theta=1e4,
        vit_width=40, vit_heads=4, vit_head_dim=10, vit_layers=3, taps=(-1, 0), crop=112, max_crops=3, margins=(1, 2),
        seed=4,
    ),
    "one layer, as many key heads": Sizes("mlp", "selu", "first", 40, layers=1, heads=3, kv_heads=3, seed=1),
    "heads narrower than D": Sizes("mlp", "gelu", "first_last_concat", 24, D=96, heads=6, head_dim=12, seed=2),
    "three layers, one key head": Sizes("mlp", "relu", "first_last_add", None, layers=3, kv_heads=1, seed=3),
    "recorded sizes": Sizes("mlp", "silu", "response_mean", 128, seed=5),
}  # fmt: skip
ALWAYS = [*MODELS][:2]
"""Models that `make test` exports, which differ in all that shapes the graphs; the others are thorough."""
SMALL, WIDE, TALL = (40, 60), (50, 420), (330, 200)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """model(name) -> graphs and stock model, exported at the first call."""

    @functools.cache
    def make(name: str) -> Exported:
        folder = tmp_path_factory.mktemp("tiny")
        return Exported(write_checkpoint(MODELS[name], RECORDED, folder / "checkpoint"), folder / "bundle")

    return make


def batch_of(exported: Exported, *requests):
    return [exported.prepare(make_request(seed, *request)) for seed, request in enumerate(requests)]


def check(exported: Exported, batch) -> np.ndarray:
    """Scores of the graphs, after comparing them with the stock model."""
    expected = exported.expected(batch)
    scores = exported.score(batch)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=TOLERANCE)
    finite = expected[np.isfinite(expected)]
    # Scores of one size would agree for the wrong reasons.
    assert len(finite) < 3 or finite.std() > 100 * TOLERANCE
    return scores


def test_the_models_cover_every_head_activation_and_read_out():
    assert {tiny.readout for tiny in MODELS.values()} == set(Readout.__args__) - {"token"}
    assert {tiny.head for tiny in MODELS.values()} == set(HEADS)
    assert {tiny.activation for tiny in MODELS.values()} - {None} == set(ACTIVATIONS)


@pytest.mark.parametrize("name", with_variants([*MODELS], len(ALWAYS)))
@pytest.mark.parametrize(
    "requests",
    [
        pytest.param([(1, 1)], id="B=1, N=1, short"),
        pytest.param([(16, 10)], id="B=1, N=16"),
        pytest.param([(3, 8, (SMALL,)), (1, 30), (5, 2, (WIDE, TALL))], id="B=3, ragged, 1, 0 and 2 images"),
        pytest.param([(2, 4, (TALL,)), (2, 4, (SMALL,)), (4, 9), (1, 3, (WIDE,))], id="B=4, ragged, 1, 1, 0, 1 images"),
    ],
)
def test_scores_are_those_of_the_stock_model(name, requests, model):
    exported = model(name)
    check(exported, batch_of(exported, *requests))


def test_scores_are_those_of_the_stock_model_with_three_images(model):
    exported = model("plain")
    batch = batch_of(exported, (4, 12, (SMALL, TALL, WIDE)), (2, 3, (TALL,)))
    assert len(batch[0].media) == 3
    check(exported, batch)


def test_scores_are_those_of_the_stock_model_with_64_responses(model):
    exported = model("plain")
    scores = check(exported, batch_of(exported, (64, 4), (2, 5)))
    assert scores.shape == (2, 64)


@pytest.mark.parametrize("name", with_variants([*ALWAYS, "recorded sizes"], len(ALWAYS)))
def test_scores_are_those_of_the_stock_model_in_long_rows(name, model):
    exported = model(name)
    batch = batch_of(exported, (6, 60), (2, 20, (TALL,)))
    assert len(batch[0].packs[0].input_ids_L) > 550
    check(exported, batch)


def test_scores_are_those_of_the_stock_model_in_a_row_shorter_than_its_blocks(model):
    """No released template makes one."""
    exported = model("plain")
    (prepared,) = batch_of(exported, (1, 1))
    ids, ends = prepared.packs[0].input_ids_L[:3], np.array([2])
    zero = np.zeros(3, np.int64)
    pack = Pack(ids, zero, zero, np.arange(3), np.array([1]), ends)
    batch = [replace(prepared, packs=(pack,))]
    assert exported.inputs(batch)["input_ids"].shape == (1, SHORTEST_ROW)
    check(exported, batch)


def test_an_image_of_one_pixel_and_a_very_long_one(model):
    exported = model("heads wider than D, other crops")
    check(exported, batch_of(exported, (2, 5, ((1, 1),)), (3, 4, ((8, 900),))))


sizes = st.tuples(st.integers(1, 260), st.integers(1, 260))
requests = st.tuples(st.integers(1, 16), st.integers(1, 18), st.lists(sizes, max_size=3))


@pytest.mark.parametrize("name", with_variants([*MODELS], len(ALWAYS)))
@settings(max_examples=10, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(requests, min_size=1, max_size=4))
def test_scores_of_any_batch_are_those_of_the_stock_model(name, model, batch):
    exported = model(name)
    prepared = batch_of(exported, *batch)
    np.testing.assert_allclose(exported.score(prepared), exported.expected(prepared), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", with_variants([*MODELS], len(ALWAYS)))
def test_an_absent_response_scores_minus_infinity(name, model):
    exported = model(name)
    scores = exported.score(batch_of(exported, (1, 4), (5, 3), (3, 2, (SMALL,))))
    present = np.arange(5) < np.array([[1], [5], [3]])
    assert np.isneginf(scores[~present]).all()
    assert np.isfinite(scores[present]).all()


@pytest.mark.parametrize("name", with_variants([*ALWAYS, "recorded sizes"], len(ALWAYS)))
def test_a_row_scores_the_same_alone_and_in_any_batch(name, model):
    exported = model(name)
    batch = batch_of(exported, (3, 5, (SMALL,)), (8, 20), (2, 6, (TALL, SMALL)))
    together = exported.score(batch)
    for row, prepared in zip(together, batch, strict=True):
        alone = exported.score([prepared])[0]
        np.testing.assert_allclose(row[: len(alone)], alone, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", with_variants([*ALWAYS, "recorded sizes"], len(ALWAYS)))
def test_what_stands_in_the_padding_does_not_matter(name, model):
    exported = model(name)
    batch = batch_of(exported, (2, 4, (SMALL,)), (8, 20))
    inputs = exported.inputs(batch)
    length = len(batch[0].packs[0].input_ids_L)
    assert length < inputs["input_ids"].shape[1]
    filled = {key: value.copy() for key, value in inputs.items()}
    filled["input_ids"][0, length:] = 7
    filled["position_ids"][0, length:] = 99
    np.testing.assert_allclose(
        exported.run("scorer.joint", filled), exported.run("scorer.joint", inputs), rtol=0, atol=TOLERANCE
    )


# Each of these wrong inputs has to move the scores far beyond the tolerance, or the comparisons above prove nothing.
def _shuffled(features_VD):
    return np.random.default_rng(0).permutation(features_VD)


WRONG = {
    "token types are all zero": ("media_blocks", np.zeros_like),
    "visual features are zero": ("image_features", np.zeros_like),
    "visual features are in another order": ("image_features", _shuffled),
    "visual features enter nowhere": ("visual_index", np.zeros_like),
    "responses end one token early": ("response_end", lambda end_BN: np.where(end_BN < 0, end_BN, end_BN - 1)),
    "positions are twice as far apart": ("position_ids", lambda ids_BL: ids_BL * 2),
    "positions restart": ("position_ids", lambda ids_BL: ids_BL % 20),
    "one prompt token is another": ("input_ids", lambda ids_BL: np.where(ids_BL == ids_BL[:, :1], 5, ids_BL)),
}


@pytest.mark.parametrize("what", WRONG)
def test_scores_change_when(what, model):
    exported = model("plain")
    inputs = exported.inputs(batch_of(exported, (4, 6, (SMALL,)), (4, 3, (TALL, SMALL))))
    key, change = WRONG[what]
    wrong = exported.run("scorer.joint", inputs | {key: change(inputs[key])})
    right = exported.run("scorer.joint", inputs)
    assert (np.abs(wrong - right).max(axis=1) > 1e-3).all()


@pytest.mark.parametrize("name", with_variants([*MODELS][1:]))
def test_scores_change_when_responses_start_one_token_late(name, model):
    exported = model(name)
    inputs = exported.inputs(batch_of(exported, (4, 6), (2, 9)))
    start = inputs["response_start"]
    wrong = exported.run("scorer.joint", inputs | {"response_start": np.where(start < 0, start, start + 1)})
    right = exported.run("scorer.joint", inputs)
    there = np.isfinite(right)
    assert (np.abs(wrong[there] - right[there]) > 1e-4).all()


def test_scores_change_when_the_vision_graph_ignores_empty_slots(model):
    exported = model("plain")
    batch = batch_of(exported, (2, 4, (SMALL,)))
    arrays = exported.family.vision_inputs(batch[0].media)
    assert (arrays["pooling_index"] < 0).any()
    right = exported.run("vision", arrays)
    wrong = exported.run("vision", arrays | {"pooling_index": np.maximum(arrays["pooling_index"], 0)})
    assert np.abs(wrong - right).max() > 1e-2


# What the graphs are made of.


@pytest.mark.parametrize("name", with_variants([*ALWAYS, "recorded sizes"], len(ALWAYS)))
@pytest.mark.parametrize("role", ["vision", "scorer.joint", "scorer.segmented"])
def test_names_types_and_axes_are_those_of_the_manifest(role, name, model):
    exported = model(name)
    graph = onnx.load(exported.folder / exported.graphs[role].file, load_external_data=False)
    own = [] if role == "vision" else [("yoj", 1)]
    assert [(imported.domain, imported.version) for imported in graph.opset_import] == [("", 23), *own]
    for specs, values in (
        (exported.graphs[role].inputs, graph.graph.input),
        (exported.graphs[role].outputs, graph.graph.output),
    ):
        assert [describe(value) for value in values] == [(s.name, s.dtype, s.shape) for s in specs]


@pytest.mark.parametrize("readout", with_variants([tiny.readout for tiny in MODELS.values()], len(ALWAYS)))
def test_response_start_is_an_input_only_where_it_is_read(readout, model):
    name = next(name for name, tiny in MODELS.items() if tiny.readout == readout)
    inputs = {spec.name for spec in model(name).graphs["scorer.joint"].inputs}
    assert ("response_start" in inputs) == (readout != "last")


@pytest.mark.parametrize("name", with_variants([*MODELS], len(ALWAYS)))
def test_operators(name, model):
    exported, layers = model(name), MODELS[name].layers
    for role in exported.graphs:
        graph = onnx.load(exported.folder / exported.graphs[role].file, load_external_data=False)
        onnx.checker.check_model(str(exported.folder / exported.graphs[role].file))
        counts: dict[str, int] = {}
        # Where only the rows that are read are queries, in the last layer, there are too few for blocks.
        trimmed = MODELS[name].readout in ("last", "first")
        assert join_queries(graph) == (role != "vision" and layers > trimmed)
        for node in graph.graph.node:
            assert node.domain == ""
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
        assert not FORBIDDEN & counts.keys()
        if role == "vision":
            assert counts["Attention"] == MODELS[name].stored_vit_layers
            continue
        assert counts["Attention"] == layers
        assert counts["RotaryEmbedding"] == 2 * layers
        # Before attention and feed-forward, of queries and of keys; at the end once for each row that is read.
        assert counts["RMSNormalization"] - 4 * layers in (1, 2)
        # Heads are not repeated to as many as there are queries.
        assert "Expand" not in counts or counts["Expand"] < layers


@pytest.mark.parametrize("name", with_variants([*MODELS], len(ALWAYS)))
def test_backbone_weights_are_only_in_the_weight_file(name, model):
    exported = model(name)
    places: dict[str, int] = {}
    for entry in exported.graphs.values():
        graph = onnx.load(exported.folder / entry.file, load_external_data=False)
        inside = {i.name: len(i.raw_data) for i in graph.graph.initializer if not i.external_data}
        outside = [{e.key: e.value for e in i.external_data} for i in graph.graph.initializer if i.external_data]
        assert {entry["location"] for entry in outside} == {"weights.data"}
        places |= {entry["offset"]: int(entry["length"]) for entry in outside}
        small = {key: size for key, size in inside.items() if "value_head" not in key and "inv_freq" not in key}
        assert sum(small.values()) < 2000
        assert (exported.folder / entry.file).stat().st_size < 100_000
    # Each once, however many graphs read it, and nothing but the gaps that alignment leaves.
    used = {n for n in exported.checkpoint.weights.names() if n != "lm_head.weight"}
    sizes = [4 * int(np.prod(exported.checkpoint.weights.shape(name))) for name in used]
    sizes += [value.nbytes for value in exported.checkpoint.head.tensors.values() if value.nbytes > INLINE_BYTES]
    assert sum(places.values()) == sum(sizes)
    written = (exported.folder / "onnx" / "weights.data").stat().st_size
    assert sum(sizes) <= written < sum(sizes) + 4096 * len(sizes)


@pytest.mark.parametrize("role", ["vision", "scorer.joint", "scorer.segmented"])
def test_no_trace_of_the_machine_that_exported(role, model):
    exported = model("plain")
    content = (exported.folder / exported.graphs[role].file).read_bytes()
    here = (Path(__file__).parents[3], Path(onnx.__file__).parents[1], Path.home(), Path(tempfile.gettempdir()))
    for text in (*map(str, here), "site-packages", "pkg.torch", "stack_trace", ".py"):
        assert text.encode() not in content, text


def test_the_comparison_notices_one_changed_weight(model, tmp_path):
    folder = write_checkpoint(MODELS["plain"], RECORDED, tmp_path / "checkpoint")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.transformer.blocks.1.self_attn.k_norm.weight"][0] *= 1.1
    save_file(tensors, folder / "model.safetensors")
    checkpoint = Checkpoint.open([folder])
    reference = StockModel(checkpoint, open_family(checkpoint))
    exported = model("plain")
    (prepared,) = batch_of(exported, (3, 6, (SMALL,)))
    scores = exported.score([prepared])[0]
    assert np.abs(scores - reference.score(prepared, exported.family)).max() > 10 * TOLERANCE


@pytest.mark.thorough  # Qwen3-VL is exported so in test_qwen3_vl_graphs.py
def test_a_head_on_the_states_before_the_norm(tmp_path):
    folder = write_checkpoint(MODELS["plain"], RECORDED, tmp_path / "checkpoint")
    checkpoint = Checkpoint.open([folder], training=Training(hidden_state="pre_norm"))
    exported = Exported(folder, tmp_path / "bundle", checkpoint)
    check(exported, batch_of(exported, (4, 9), (2, 5, (SMALL,))))


def test_molmo2_has_one_way_to_show_a_video(tmp_path):
    folder = write_checkpoint(MODELS["plain"], RECORDED, tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match="Leave it out"):
        open_family(Checkpoint.open([folder], training=Training(video_expansion="nested")))
