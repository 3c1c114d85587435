"""Requests of any shape find a profile of a plan, or an error that says which profiles there are."""

from __future__ import annotations

import numpy as np
import pytest

from yoj.runtime.engines._shapes import choose_profile, cut, fill, parts, rows_at_once, sizes_of
from yoj.runtime.errors import EngineError
from yoj.runtime.manifest import Graph, ShapeProfile, TensorSpec


def profile(**sizes: tuple[int, int]) -> dict[str, ShapeProfile]:
    return {letter: ShapeProfile(min=low, opt=low, max=high) for letter, (low, high) in sizes.items()}


LONG = profile(B=(1, 8), L=(512, 8192), N=(2, 64), V=(1, 4096))
SHORT = profile(B=(1, 64), L=(16, 512), N=(2, 64), V=(1, 4096))
SPECS = (
    TensorSpec(name="input_ids", dtype="int64", shape=("B", "L")),
    TensorSpec(name="features", dtype="float32", shape=("V", 3)),
    TensorSpec(name="response_end", dtype="int64", shape=("B", "N")),
)
GRAPH = Graph(file="x", inputs=SPECS, outputs=(TensorSpec(name="scores", dtype="float32", shape=("B", "N")),))


def arrays(B: int, L: int, N: int, V: int = 1) -> dict[str, np.ndarray]:
    return {
        "input_ids": np.arange(B * L).reshape(B, L),
        "features": np.ones((V, 3), np.float32),
        "response_end": np.arange(B * N).reshape(B, N),
    }


@pytest.mark.parametrize(
    ("sizes", "index", "padded"),
    [
        ({"B": 1, "L": 600, "N": 3, "V": 1}, 0, {"B": 1, "L": 640, "N": 4, "V": 64}),
        ({"B": 1, "L": 90, "N": 1, "V": 65}, 1, {"B": 1, "L": 128, "N": 4, "V": 128}),
        ({"B": 40, "L": 90, "N": 4, "V": 1}, 1, {"B": 40, "L": 128, "N": 4, "V": 64}),
        ({"B": 1, "L": 512, "N": 64, "V": 4096}, 0, {"B": 1, "L": 512, "N": 64, "V": 4096}),
        ({"B": 8, "L": 8192, "N": 63, "V": 4095}, 0, {"B": 8, "L": 8192, "N": 64, "V": 4096}),
    ],
)
def test_the_profile_with_the_least_padding_is_taken(sizes, index, padded):
    assert choose_profile("scorer.joint", [LONG, SHORT], sizes) == (index, padded)


def test_padding_never_leaves_a_profile():
    odd = profile(B=(3, 5), L=(10, 50), N=(1, 3), V=(7, 9))
    for L in range(1, 51):
        _, padded = choose_profile("x", [odd], {"B": 1, "L": L, "N": 2, "V": 8})
        assert padded == {"B": 3, "L": 50, "N": 3, "V": 9}


def test_patches_and_pooled_slots_are_never_padded():
    held = profile(F=(1, 4), P=(16, 64), K=(4, 9))
    assert choose_profile("vision", [held], {"F": 3, "P": 20, "K": 9})[1] == {"F": 3, "P": 20, "K": 9}
    with pytest.raises(EngineError, match=r"P=12"):
        choose_profile("vision", [held], {"F": 1, "P": 12, "K": 4})


def test_a_shape_outside_all_profiles_is_refused_and_all_are_listed():
    with pytest.raises(EngineError) as caught:
        choose_profile("scorer.joint", [LONG, SHORT], {"B": 1, "L": 9000, "N": 65, "V": 1})
    text = str(caught.value)
    assert "scorer.joint" in text
    assert "B=1, L=9000, N=65, V=1" in text
    assert "L 512..8192" in text
    assert "L 16..512" in text
    assert "--profile L=16:9000:9000,N=2:65:65" in text


def test_a_batch_of_more_rows_than_a_profile_has_is_run_in_parts():
    assert rows_at_once([LONG, SHORT], {"B": 100, "L": 90, "N": 2, "V": 1}) == 64
    assert rows_at_once([LONG, SHORT], {"B": 100, "L": 900, "N": 2, "V": 1}) == 8
    inputs = arrays(B=11, L=4, N=2, V=5)
    pieces = list(parts(GRAPH, inputs, 4))
    assert [len(piece["input_ids"]) for piece in pieces] == [4, 4, 3]
    assert all(piece["features"] is inputs["features"] for piece in pieces)
    for name in ("input_ids", "response_end"):
        assert (np.concatenate([piece[name] for piece in pieces]) == inputs[name]).all()


def test_a_graph_without_rows_is_run_at_once():
    graph = Graph(file="x", inputs=(SPECS[1],), outputs=())
    assert len(list(parts(graph, arrays(1, 1, 1), rows_at_once([LONG], {"V": 4})))) == 1


def test_sizes_are_read_from_the_inputs():
    assert sizes_of(SPECS, arrays(B=2, L=7, N=3, V=4)) == {"B": 2, "L": 7, "V": 4, "N": 3}


@pytest.mark.parametrize(
    ("name", "array", "word"),
    [
        ("input_ids", None, "input_ids is missing"),
        ("input_ids", np.zeros((2, 7), np.int32), "int32"),
        ("input_ids", np.zeros(7, np.int64), r"\[7\]"),
        ("features", np.zeros((4, 5), np.float32), r"\[4, 5\]"),
        ("response_end", np.zeros((3, 3), np.int64), r"response_end is int64 \[3, 3\]"),
    ],
)
def test_inputs_that_do_not_fit_the_graph_are_refused_and_named(name, array, word):
    given = arrays(B=2, L=7, N=3, V=4)
    del given[name]
    if array is not None:
        given[name] = array
    with pytest.raises(EngineError, match=word):
        sizes_of(SPECS, given)


def test_padding_is_what_the_runtime_pads_with_and_is_cut_off_again():
    for name, padding in (("input_ids", 0), ("segment_ids", -1), ("response_end", -1), ("response_start", -1)):
        target = np.full((3, 5), 99)
        fill(target, name, np.array([[1, 2], [3, 4]]))
        assert target.tolist() == [[1, 2, *[padding] * 3], [3, 4, *[padding] * 3], [padding] * 5]
        back = cut(target, TensorSpec(name=name, dtype="int64", shape=("B", "L")), {"B": 2, "L": 2})
        assert back.tolist() == [[1, 2], [3, 4]]
        assert back.base is None
