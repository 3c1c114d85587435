"""Work by formula against PyTorch's own count of the traced modules, and the machine's limits."""

from __future__ import annotations

import functools
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from recorded import IMAGES, MERGED
from tiny_qwen3_vl import TinyQwen, write_qwen
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from yoj.bench import _limits as limits
from yoj.bench._limits import ModelWork, measure_limits, predicted_saving, share, tokens_and_pairs, work
from yoj.bench._results import MachineLimits, Peak, RequestShape, Strategy, Time
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.families.opening import open_family
from yoj.export.graph.traced import materialise

WAYS = get_args(Strategy)
MODEL = ModelWork(token=1000, pair=16, vision=7000, table=400, weights=0)
sizes = st.integers(1, 3000)
responses = st.integers(1, 64)


def shape_of(P: int, R: int, N: int, V: int = 0, B: int = 1) -> RequestShape:
    return RequestShape(B=B, L=P + N * R, N=N, P=P, R=R, V=V, threads=1)


@pytest.fixture(scope="module")
def family_of(tmp_path_factory):
    """family_of(kind) -> the export family of a tiny checkpoint."""

    @functools.cache
    def make(kind: str):
        folder = tmp_path_factory.mktemp(kind) / "checkpoint"
        return open_family(
            Checkpoint.open([MERGED if kind == "merged" else write_qwen(TinyQwen(), folder, hidden_state="post_norm")])
        )

    return make


@pytest.fixture(scope="module")
def media_of(bundle):
    """media_of(kind) -> inputs of the vision graph for one image."""
    from yoj.runtime import Scorer

    def make(kind: str) -> dict[str, Any]:
        family = Scorer.load(bundle(kind, "assistant")).family
        with Image.open(IMAGES / "odd_small.png") as image:
            return family.vision_inputs([family.prepare_image(np.asarray(image.convert("RGB")))])

    return make


def count(module: torch.nn.Module, call: Any) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(module)
    return counter.get_total_flops()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["merged", "qwen3_vl"])
@pytest.mark.parametrize("role", ["scorer.joint", "scorer.segmented"])
@pytest.mark.parametrize(("P", "R", "N"), [(40, 7, 1), (31, 5, 6)])
def test_work_of_a_packed_row_is_what_the_traced_trunk_computes(family_of, kind, role, P, R, N):
    family = family_of(kind)
    spec = next(spec for spec in family.graphs if spec.role == role)
    S = P + N * R
    axes = {"B": 1, "L": S, "V": 6}
    inputs = {
        name: torch.empty([axes.get(axis, axis) for axis in shape], dtype=dtype, device="meta")
        for name, (dtype, shape) in spec.inputs.items()
        if not name.startswith("response_")
    }
    counted = count(spec.module, lambda module: module.trunk(**inputs))
    model = ModelWork.of(family)
    # PyTorch counts attention over all pairs, of which a causal row needs half.
    unseen = 2 * model.pair * (S * (S - 1) // 2)
    assert work(model, "packed", shape_of(P, R, N)) + unseen == counted


@pytest.mark.parametrize("kind", ["merged", "qwen3_vl"])
def test_vision_counted_on_shapes_is_that_of_a_run(family_of, media_of, kind):
    family, arrays = family_of(kind), media_of(kind)
    counted = ModelWork.of(family, [arrays]).vision
    spec = next(spec for spec in family.graphs if spec.role == "vision")
    module = materialise(spec, family.checkpoint)
    tensors = {name: torch.from_numpy(arrays[name]) for name in spec.inputs}
    with sdpa_kernel(SDPBackend.MATH):  # PyTorch does not count its fused kernel on a CPU
        assert 2 * counted == count(module, lambda module: module(**tensors)) > 0
    assert ModelWork.of(family, [arrays, arrays]).vision == 2 * counted
    assert ModelWork.of(family).vision == 0


def test_vision_by_hand(family_of, media_of):
    tiny, arrays = TinyQwen(), media_of("qwen3_vl")
    F, P, X = arrays["pixel_values"].shape
    D, merged = tiny.vision_width, 4 * tiny.vision_width
    block = P * (4 * D * D + 2 * D * tiny.vision_intermediate) + 2 * P * P * D
    mergers = (1 + len(tiny.taps)) * P // 4 * (merged * merged + merged * tiny.D)
    assert ModelWork.of(family_of("qwen3_vl"), [arrays]).vision == F * (P * X * D + tiny.depth * block + mergers)


def test_sizes_by_hand(family_of):
    tiny, model = TinyQwen(), ModelWork.of(family_of("qwen3_vl"))
    wide, narrow = tiny.heads * tiny.head_dim, tiny.kv_heads * tiny.head_dim
    layer = tiny.D * (2 * wide + 2 * narrow + 3 * tiny.intermediate)
    assert model.token == tiny.layers * layer
    assert model.pair == tiny.layers * wide * 2
    assert model.table == 990 * tiny.D
    assert model.weights > 4 * model.token


def test_ways_worked_out():
    """Section 4.2 of the formulas: P=10, R=2, N=3."""
    assert tokens_and_pairs("packed", 10, 2, 3) == (16, 136)
    assert tokens_and_pairs("isolated", 10, 2, 3) == tokens_and_pairs("prefix", 10, 2, 3) == (16, 55 + 3 * 23)
    assert tokens_and_pairs("separate", 10, 2, 3) == tokens_and_pairs("rows", 10, 2, 3) == (36, 3 * 78)


def test_media_are_shown_once_or_in_each_pass():
    seen = {way: work(MODEL, way, shape_of(10, 2, 3, V=4)) - work(MODEL, way, shape_of(10, 2, 3)) for way in WAYS}
    once = 2 * MODEL.vision
    assert seen == {"packed": once, "isolated": once, "prefix": once, "separate": 3 * once, "rows": 3 * once}


def test_vocabulary_and_batch():
    plain = work(MODEL, "packed", shape_of(10, 2, 3))
    assert work(MODEL, "packed", shape_of(10, 2, 3), lm_head=True) == plain + 2 * 400 * 16
    assert work(MODEL, "packed", shape_of(10, 2, 3, B=5)) == 5 * plain


@pytest.mark.slow
@given(P=sizes, R=sizes, N=responses, way=st.sampled_from(WAYS))
def test_work_rises_with_every_size(P, R, N, way):
    here = work(MODEL, way, shape_of(P, R, N, V=1))
    assert here > 0
    for more in (shape_of(P + 1, R, N, V=1), shape_of(P, R + 1, N, V=1), shape_of(P, R, N + 1, V=1)):
        assert work(MODEL, way, more) > here


@pytest.mark.slow
@given(P=sizes, R=sizes, N=responses)
def test_order_of_the_ways(P, R, N):
    shape = shape_of(P, R, N, V=1)
    done = {way: work(MODEL, way, shape) for way in WAYS}
    assert done["isolated"] == done["prefix"] <= done["packed"]
    assert done["isolated"] <= done["separate"] == done["rows"]
    if N == 1:
        assert len(set(done.values())) == 1


@pytest.mark.slow
@given(P=sizes, R=sizes, N=responses)
def test_predicted_saving(P, R, N):
    assert predicted_saving(P, R, 1) == 1.0
    here = predicted_saving(P, R, N)
    assert 1.0 <= here <= min(N, (P + R) / R) * (1 + 1e-12)
    assert predicted_saving(P, R, N + 1) > here
    assert predicted_saving(P + 1, R, N) >= here  # a longer prompt is saved more often
    assert predicted_saving(P, R + 1, N) <= here


def test_share_of_a_peak():
    time = Time(median=500.0, low=400.0, high=600.0, runs=3)
    assert share(1e9, time, Peak(precision="float32", flops=4e9, by="PyTorch")) == pytest.approx(0.5)
    assert share(1e9, time, None) is None


def test_limits_are_found_and_threads_put_back(monkeypatch):
    monkeypatch.setattr(limits, "ROWS", 32)
    monkeypatch.setattr(limits, "WIDTH", 64)
    monkeypatch.setattr(limits, "OUT", 96)
    monkeypatch.setattr(limits, "COPIED_BYTES", 2**20)
    monkeypatch.setattr(limits, "SECONDS", 0.0)
    before = torch.get_num_threads()
    found = measure_limits(1)
    assert torch.get_num_threads() == before
    assert isinstance(found, MachineLimits)
    assert {peak.precision for peak in found.peaks} == {"float32", "bfloat16", "int8"}
    assert all(peak.flops > 0 and peak.by in ("PyTorch", "ONNX Runtime") for peak in found.peaks)
    assert found.copied > 0
