"""Bundles of tiny Qwen3-VL models against the stock model, on shapes that were not traced; and what is in them."""

from __future__ import annotations

import functools
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from graph_checks import FORBIDDEN, TOLERANCE, describe
from safetensors.torch import load_file, save_file
from tiers import with_variants
from tiny_qwen3_vl import Exported, TinyQwen, request_of, write_qwen

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.families.opening import open_family
from yoj.export.graph._blocked_attention import join_queries
from yoj.export.prompts.layout import render_layout
from yoj.export.verification.stock_model import StockModel
from yoj.runtime import RequestError
from yoj.runtime.packing import Packer
from yoj.runtime.script import script_of
from yoj.runtime.text import TextEncoder

pytestmark = [pytest.mark.export, pytest.mark.parity]

THREE_TAPS = TinyQwen(layers=4, depth=4, taps=(0, 1, 3))
"""As many as the released models have."""
MODELS = {
    "pre_norm, flat": THREE_TAPS,
    "post_norm, nested": TinyQwen(
        D=80, layers=4, heads=3, kv_heads=1, vision_width=40, vision_heads=5, depth=5, taps=(1, 2, 4), patch=6, grid=5,
        readout="first_last_concat", seed=1, prefix="",
    ),
}  # fmt: skip
SMALL, WIDE, TALL = (40, 60), (50, 300), (130, 70)
MOVED = 5 * TOLERANCE


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """model(name) -> bundle and stock model, exported at the first call."""

    @functools.cache
    def make(name: str) -> Exported:
        folder = tmp_path_factory.mktemp("tiny")
        hidden_state, video = name.split(", ")
        return Exported(write_qwen(MODELS[name], folder / "checkpoint"), folder / "judge.yoj", hidden_state, video)

    return make


def requests_of(*measures):
    return [request_of(seed, *measure) for seed, measure in enumerate(measures)]


def mixed():
    """Every kind of medium, each able to show a mistake, and a text."""
    return requests_of((4, 8, (SMALL, WIDE)), (3, 6, (), 5), (5, 7, (TALL,), 4), (2, 9))


def same(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)


def moved(wrong, right):
    """Largest difference in each row."""
    there = np.isfinite(right)
    return np.array([np.abs(w[t] - r[t]).max() for w, r, t in zip(wrong, right, there, strict=True)])


@pytest.mark.parametrize("name", with_variants([*MODELS]))
@pytest.mark.parametrize(
    "measures",
    [
        pytest.param([(1, 1)], id="B=1, N=1, text"),
        pytest.param([(16, 10)], id="B=1, N=16, text"),
        pytest.param([(4, 8, (WIDE,))], id="B=1, image"),
        pytest.param([(3, 8, (SMALL, TALL, SMALL))], id="B=1, three images"),
        pytest.param([(2, 5, (), 1)], id="B=1, video of one frame"),
        pytest.param([(5, 5, (), 7)], id="B=1, video of 7 frames"),
        pytest.param([(3, 6, (SMALL, WIDE), 4)], id="B=1, two images and video"),
        pytest.param([(2, 9, (TALL,)), (7, 3), (1, 4, (), 2)], id="B=3, ragged, image, text, video"),
        pytest.param(
            [(2, 4, (TALL, TALL)), (16, 4, (SMALL,), 3), (4, 9), (1, 3, (WIDE,))], id="B=4, ragged, every medium"
        ),
    ],
)
def test_scores_are_those_of_the_stock_model(name, measures, model):
    exported, requests = model(name), requests_of(*measures)
    expected = exported.expected(requests)
    same(exported.scorer.forward(exported.prepare(requests)), expected)
    finite = expected[np.isfinite(expected)]
    assert len(finite) < 3 or finite.std() > 100 * TOLERANCE


@pytest.mark.parametrize("name", with_variants([*MODELS]))
def test_the_build_compares_images_with_a_video(name, model):
    fidelity = model(name).fidelity
    assert fidelity.passed
    assert fidelity.token_ids_equal
    assert "image and video, N=4" in {case.case for case in fidelity.cases}


@pytest.mark.parametrize("name", with_variants([*MODELS]))
def test_isolated_scores_are_those_of_separate_passes(name, model):
    exported = model(name)
    requests = mixed()
    got = exported.scorer.forward(exported.prepare(requests, "isolated"))
    for row, request in zip(got, requests, strict=True):
        alone = exported.expected([replace(request, responses=[response]) for response in request.responses])[:, 0]
        same(row[: len(alone)], alone)


@pytest.mark.parametrize("name", with_variants([*MODELS]))
def test_isolated_scores_do_not_depend_on_the_order(name, model):
    exported = model(name)
    for request in mixed():
        order = np.random.default_rng(0).permutation(len(request.responses))
        shuffled = replace(request, responses=[request.responses[i] for i in order])
        given, changed = (
            exported.scorer.forward(exported.prepare([r], mode))[0]
            for r, mode in ((request, "isolated"), (shuffled, "isolated"))
        )
        same(changed, given[order])
        joint = exported.scorer.forward(exported.prepare([request]))[0]
        assert np.abs(joint[1:] - given[1:]).max() > MOVED


def test_the_segmented_graph_reads_a_joint_pack_like_the_joint_graph(model):
    exported = model("pre_norm, flat")
    inputs = exported.inputs(exported.prepare(mixed()))
    zeros = np.zeros_like(inputs["input_ids"])
    segmented = exported.scorer._session.run("scorer.segmented", inputs | {"segment_ids": zeros})["scores"]
    same(segmented, exported.run(inputs))


# Each of these mistakes has to move the scores of every request with media, or the comparisons above prove nothing.
WRONG = {
    "there is no deepstack": lambda i: {f"deepstack_{k}": np.zeros_like(i["deepstack_0"]) for k in range(3)},
    "the last deepstack is missing": lambda i: {"deepstack_2": np.zeros_like(i["deepstack_2"])},
    "deepstack is swapped": lambda i: {"deepstack_0": i["deepstack_1"], "deepstack_1": i["deepstack_0"]},
    "features are zero": lambda i: {"image_features": np.zeros_like(i["image_features"])},
    "features enter nowhere": lambda i: {"visual_index": np.zeros_like(i["visual_index"])},
    "rows and columns are swapped": lambda i: {"position_ids": i["position_ids"][:, [0, 2, 1]]},
    "time and rows are swapped": lambda i: {"position_ids": i["position_ids"][:, [1, 0, 2]]},
    "positions count tokens": lambda i: {
        "position_ids": np.broadcast_to(np.arange(i["input_ids"].shape[1]), i["position_ids"].shape)
    },
}


@pytest.mark.parametrize("name", with_variants([*MODELS]))
@pytest.mark.parametrize("what", WRONG)
def test_scores_change_when(what, name, model):
    exported = model(name)
    inputs = exported.inputs(exported.prepare(mixed()))
    right = exported.run(inputs)
    changed = {key: np.ascontiguousarray(value) for key, value in WRONG[what](inputs).items()}
    *media, text = moved(exported.run(inputs | changed), right)
    assert min(media) > 10 * MOVED
    assert text <= TOLERANCE


@pytest.mark.parametrize("sections", [(8, 4, 4), (10, 4, 2), (12, 2, 2), (6, 5, 5)])
def test_scores_change_with_other_rotary_sections(sections, model):
    exported = model("pre_norm, flat")
    right = exported.scorer.forward(exported.prepare(mixed()))
    *media, text = moved(exported.expected(mixed(), exported.other_reference(sections=sections)), right)
    assert min(media) > MOVED
    assert text <= TOLERANCE


@pytest.mark.parametrize("name", with_variants([*MODELS]))
def test_scores_change_with_the_other_norm(name, model):
    exported = model(name)
    right = exported.scorer.forward(exported.prepare(mixed()))
    said = exported.checkpoint.training.hidden_state
    other = Training({"pre_norm": "post_norm", "post_norm": "pre_norm"}[said])
    assert (moved(exported.expected(mixed(), exported.other_reference(other)), right) > 100 * MOVED).all()
    assert exported.scorer.manifest.value_head.hidden_state == said


def test_the_vision_graph_notices_rows_taken_for_columns(model):
    exported = model("pre_norm, flat")
    (prepared,) = exported.prepare([request_of(0, 2, 4, (WIDE,))])
    arrays = exported.scorer.family.vision_inputs(prepared.media)
    right = exported.scorer._session.run("vision", arrays)
    half = arrays["rotary_cos"].shape[1] // 2
    turned = {name: np.roll(arrays[name], half, axis=1) for name in ("rotary_cos", "rotary_sin")}
    for changed in (turned, {"position_weight": np.roll(arrays["position_weight"], 1, axis=1)}):
        wrong = exported.scorer._session.run("vision", arrays | changed)
        assert all(np.abs(wrong[name] - right[name]).max() > 1e-2 for name in right)


@pytest.mark.parametrize("name", with_variants([*MODELS]))
def test_a_batch_of_media_of_one_size_equals_each_alone(name, model):
    exported = model(name)
    prepared = exported.prepare(requests_of((1, 2, (SMALL,)), (1, 2, (SMALL,)), (1, 2, (SMALL,))))
    media = [request.media[0] for request in prepared]
    together = exported.scorer._session.run("vision", exported.scorer.family.vision_inputs(media))
    begin = 0
    for medium in media:
        alone = exported.scorer._session.run("vision", exported.scorer.family.vision_inputs([medium]))
        for name, rows in alone.items():
            same(together[name][begin : begin + medium.rows], rows)
        begin += medium.rows
    assert begin == len(together["image_features"])


@pytest.mark.parametrize(("name", "outer"), with_variants([("pre_norm, flat", 0), ("post_norm, nested", 1)]))
def test_a_video_is_expanded_as_the_manifest_says(name, outer, model):
    exported = model(name)
    (prepared,) = exported.prepare([request_of(0, 2, 4, (), 5)])
    tokenizer = exported.checkpoint.tokenizer
    text = tokenizer.decode(prepared.packs[0].input_ids_L.tolist(), skip_special_tokens=False)
    pads = "<|video_pad|>" * (prepared.media[0].rows // 3)
    # Frames at 0, 1, 2, 3, 4 and, for the second of the last two, 4 seconds.
    frames = [f"<{s} seconds><|vision_start|>{pads}<|vision_end|>" for s in ("0.5", "2.5", "4.0")]
    expected = "<|vision_start|>" * outer + "".join(frames) + "<|vision_end|>" * outer
    shown = text.replace("> ", ">").replace(" <", "<")
    assert shown.startswith(f"<|im_start|>user\n{expected}") or shown.startswith(f"<|im_start|>user{expected}")


def test_scores_depend_on_the_expansion_of_a_video(model):
    exported = model("pre_norm, flat")
    request = request_of(0, 3, 4, (), 5)
    (prepared,) = exported.prepare([request])
    family = open_family(replace(exported.checkpoint, training=Training("pre_norm", "nested")))
    layout = render_layout(exported.checkpoint, "assistant", family.markup())
    packer = Packer(TextEncoder.open(exported.path / "tokenizer.json"), layout, family.limits.L)
    packs = packer.pack(script_of(request), [medium.spans for medium in prepared.media])
    nested = replace(prepared, packs=packs)
    given, other = exported.scorer.forward([prepared]), exported.scorer.forward([nested])
    assert np.abs(given - other).max() > 100 * MOVED
    same(other[0], exported.reference.score(nested, exported.scorer.family))


# What the graphs are made of.


def graph_of(exported, role):
    return onnx.load(exported.path / exported.scorer.engine.graphs[role].file, load_external_data=False)


@pytest.mark.parametrize("name", with_variants([*MODELS]))
@pytest.mark.parametrize("role", ["vision", "scorer.joint", "scorer.segmented"])
def test_names_types_and_axes_are_those_of_the_manifest(role, name, model):
    exported = model(name)
    graph, specs = graph_of(exported, role), exported.scorer.engine.graphs[role]
    own = [] if role == "vision" else [("yoj", 1)]
    assert [(imported.domain, imported.version) for imported in graph.opset_import] == [("", 23), *own]
    for wanted, values in ((specs.inputs, graph.graph.input), (specs.outputs, graph.graph.output)):
        assert [describe(value) for value in values] == [(s.name, s.dtype, s.shape) for s in wanted]
    features = [f"deepstack_{k}" for k in range(3)]
    if role == "vision":
        pixels = next(spec for spec in specs.inputs if spec.name == "pixel_values")
        assert pixels.shape == ("F", "P", 6 * MODELS[name].patch ** 2)
        assert [spec.name for spec in specs.outputs] == ["image_features", *features]
        assert {spec.shape for spec in specs.outputs} == {("V", MODELS[name].D)}
        return
    names = {"input_ids", "position_ids", "visual_index", "response_end", "image_features", *features}
    names |= {"response_start"} if MODELS[name].readout != "last" else set()
    names |= {"segment_ids"} if role == "scorer.segmented" else set()
    assert {spec.name for spec in specs.inputs} == names


@pytest.mark.parametrize("name", with_variants([*MODELS]))
@pytest.mark.parametrize("role", ["vision", "scorer.joint", "scorer.segmented"])
def test_operators(role, name, model):
    exported, tiny = model(name), MODELS[name]
    proto = graph_of(exported, role)
    assert join_queries(proto) == (role != "vision")
    graph = proto.graph
    counts = Counter(node.op_type for node in graph.node)
    assert {node.domain for node in graph.node} == {""}
    assert not (FORBIDDEN | {"Conv", "GatherElements"}) & counts.keys()
    layers = tiny.depth if role == "vision" else tiny.layers
    assert counts["Attention"] == layers
    assert counts["RotaryEmbedding"] == 2 * layers
    # Heads are not repeated to as many as there are queries.
    assert counts["Expand"] < layers
    if role == "vision":
        assert counts["LayerNormalization"] == 2 * layers + 1 + 3
    else:
        ends = {"pre_norm": 0, "post_norm": 2 if tiny.readout == "first_last_concat" else 1}
        assert counts["RMSNormalization"] == 4 * layers + ends[exported.checkpoint.training.hidden_state]


@pytest.mark.parametrize("name", with_variants([*MODELS]))
def test_the_joint_graph_has_no_matrix_of_tokens_by_tokens(name, model):
    """But for the mask that attention in blocks makes of it, which half precision and TensorRT do not have."""
    for role, masked in (("scorer.joint", False), ("scorer.segmented", True)):
        proto = graph_of(model(name), role)
        join_queries(proto)
        proto = onnx.shape_inference.infer_shapes(proto)
        attention = [node for node in proto.graph.node if node.op_type == "Attention"]
        # In the last layer only the rows that are read attend, where that is one of each response.
        trimmed = [False] * (len(attention) - 1) + [MODELS[name].readout == "last"]
        has_mask = [len(node.input) > 3 and node.input[3] != "" for node in attention]
        assert has_mask == [masked or last for last in trimmed]
        causal = [{a.name: a.i for a in node.attribute}.get("is_causal", 0) for node in attention]
        assert causal == [int(not mask) for mask in has_mask]
        known = {value.name: describe(value)[2] for value in proto.graph.value_info}
        assert [known[node.input[0]][2] for node in attention] == ["N" if last else "L" for last in trimmed]
        assert {known[node.input[1]][2] for node in attention} == {"L"}
        shapes = [describe(value)[2] for value in (*proto.graph.value_info, *proto.graph.input)]
        assert any(shape.count("L") > 1 for shape in shapes) == masked


# Checkpoints.


def test_the_spelling_of_transformers_5_gives_the_same_model(model, tmp_path):
    from transformers import Qwen3VLForConditionalGeneration

    exported = model("pre_norm, flat")
    released, saved = exported.checkpoint.folders[0], tmp_path / "saved"
    whole = Qwen3VLForConditionalGeneration.from_pretrained(released, dtype=torch.float32)
    whole.save_pretrained(saved)
    for file in released.iterdir():
        if not (saved / file.name).exists():
            shutil.copy(file, saved / file.name)
    assert "rope_scaling" not in json.loads((saved / "config.json").read_text("utf-8"))["text_config"]
    checkpoint = Checkpoint.open([saved], training=exported.checkpoint.training)
    old, new = open_family(exported.checkpoint), open_family(checkpoint)
    assert (old.text, old.vision, old.preprocessing()) == (new.text, new.vision, new.preprocessing())
    for before, after in zip(old.graphs, new.graphs, strict=True):
        assert before.sources == after.sources
    for made_of in {made_of for spec in new.graphs for made_of in spec.sources.values()}:
        for source in made_of.names:
            assert torch.equal(checkpoint.weights.read(source), exported.checkpoint.weights.read(source))


def test_adapters_are_merged_as_peft_does(tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import Qwen3VLForConditionalGeneration

    base = write_qwen(TinyQwen(), tmp_path / "base")
    whole = Qwen3VLForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv", "linear_fc1"]
    adapted = peft.get_peft_model(
        whole, peft.LoraConfig(r=4, lora_alpha=16, target_modules=targets, init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    for name in ("reward_model_config.json", "value_head.safetensors", "tokenizer.json"):
        shutil.copy(base / name, tmp_path / "adapter" / name)
    (base / "value_head.safetensors").unlink()
    checkpoint = Checkpoint.open([tmp_path / "adapter"], base, Training("pre_norm"))
    merged = {name.removeprefix("base_model.model."): t for name, t in adapted.merge_and_unload().state_dict().items()}
    for made_of in {made_of for spec in open_family(checkpoint).graphs for made_of in spec.sources.values()}:
        for source in made_of.names:
            torch.testing.assert_close(checkpoint.weights.read(source), merged[source], rtol=0, atol=1e-6)


def test_the_hidden_state_has_to_be_said(tmp_path):
    folder = write_qwen(TinyQwen(), tmp_path / "silent")
    with pytest.raises(CheckpointError, match=r"--hidden-state pre_norm \(4.57\) or post_norm \(5.x\)"):
        open_family(Checkpoint.open([folder]))
    assert open_family(Checkpoint.open([folder], training=Training("post_norm"))).hidden_state == "post_norm"


def test_what_the_settings_of_the_reward_model_say_is_taken(tmp_path):
    folder = write_qwen(TinyQwen(), tmp_path / "said", hidden_state="pre_norm", video_expansion="nested")
    family = open_family(Checkpoint.open([folder]))
    assert family.hidden_state == "pre_norm"
    assert len(family.markup().packed_video) == 3
    given = open_family(Checkpoint.open([folder], training=Training("post_norm", "flat")))
    assert given.hidden_state == "post_norm"
    assert len(given.markup().packed_video) == 1
    folder = write_qwen(TinyQwen(), tmp_path / "wrong", hidden_state="last", video_expansion="4.57")
    with pytest.raises(CheckpointError, match=r"hidden_state is 'last'.*video_expansion is '4\.57'"):
        Checkpoint.open([folder])


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("text_config", {"rope_scaling": {"mrope_section": [8, 3, 3]}}, "does not share out 16 frequencies"),
        ("text_config", {"rope_scaling": {"rope_type": "yarn", "mrope_section": [10, 3, 3]}}, "default type"),
        ("text_config", {"attention_bias": True}, "attention_bias"),
        ("vision_config", {"deepstack_visual_indexes": [2, 1]}, "not rising blocks"),
        ("vision_config", {"deepstack_visual_indexes": [0, 1, 2, 3]}, "more than 3"),
        ("vision_config", {"num_position_embeddings": 35}, "no square"),
        ("vision_config", {"hidden_act": "gelu"}, "hidden_act"),
        (None, {"image_token_id": 5}, "the tokenizer gives <|image_pad|> the id"),
    ],
)
def test_a_configuration_that_is_not_supported_is_refused(part, change, message, tmp_path):
    folder = write_qwen(THREE_TAPS, tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (config[part] if part else config).update(change)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(CheckpointError) as caught:
        open_family(Checkpoint.open([folder], training=Training("post_norm")))
    assert message in str(caught.value)


def test_missing_and_misshapen_tensors_are_named(tmp_path):
    folder = write_qwen(TinyQwen(), tmp_path / "checkpoint")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.language_model.layers.1.self_attn.o_proj.weight"]
    tensors["model.visual.patch_embed.proj.weight"] = tensors["model.visual.patch_embed.proj.weight"][:, :, :1].clone()
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        open_family(Checkpoint.open([folder], training=Training("post_norm")))
    assert "layers.1.self_attn.o_proj.weight: missing" in str(caught.value)
    assert "model.visual.patch_embed.proj.weight: shape" in str(caught.value)


def test_processor_files_that_do_not_fit_are_refused(tmp_path):
    folder = write_qwen(TinyQwen(), tmp_path / "checkpoint")
    (folder / "preprocessor_config.json").write_text('{"patch_size": 14, "resample": 2}', "utf-8")
    with pytest.raises(CheckpointError) as caught:
        open_family(Checkpoint.open([folder], training=Training("post_norm")))
    assert "image processor: patch_size is 14, expected 8; image processor: resample is 2" in str(caught.value)


def test_the_older_spelling_of_the_areas_is_read(tmp_path):
    folder = write_qwen(TinyQwen(), tmp_path / "checkpoint")
    (folder / "preprocessor_config.json").write_text('{"min_pixels": 1024, "max_pixels": 4096}', "utf-8")
    settings = open_family(Checkpoint.open([folder], training=Training("post_norm"))).preprocessing()
    assert (settings["image_min_pixels"], settings["image_max_pixels"]) == (1024, 4096)


def test_the_reference_forgets_the_positions_of_the_last_request(model):
    exported = model("pre_norm, flat")
    image, text = requests_of((2, 4, (TALL,)), (2, 4))
    fresh = StockModel(exported.checkpoint, open_family(exported.checkpoint))
    first = exported.expected([text], fresh)
    exported.expected([image], fresh)
    np.testing.assert_array_equal(exported.expected([text], fresh), first)


def test_limits_are_those_of_the_checkpoint(model):
    exported = model("pre_norm, flat")
    limits = exported.scorer.manifest.limits
    assert (limits.L, limits.N, limits.images, limits.frames) == (4096, 64, 16, 32)
    assert limits.images_with_video
    with pytest.raises(RequestError):
        exported.scorer.prepare(request_of(0, 65, 1))


def test_no_trace_of_the_machine_that_exported(model):
    exported = model("pre_norm, flat")
    for graph in exported.scorer.engine.graphs.values():
        content = (exported.path / graph.file).read_bytes()
        for text in (str(Path(__file__).parents[3]), "site-packages", "pkg.torch", "stack_trace", ".py"):
            assert text.encode() not in content, text
