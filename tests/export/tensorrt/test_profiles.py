"""The sizes that plans are built for."""

from __future__ import annotations

import re

import msgspec
import pytest

from yoj.export.tensorrt._profiles import parse_profile, profiles_of
from yoj.runtime import manifest as m
from yoj.runtime.errors import EngineError


def graph(**inputs: tuple[int | str, ...]) -> m.Graph:
    specs = tuple(m.TensorSpec(name=name, dtype="float32", shape=shape) for name, shape in inputs.items())
    return m.Graph(file="onnx/x.onnx", inputs=specs, outputs=())


SCORER = graph(input_ids=("B", "L"), features=("V", 8), response_end=("B", "N"))
QWEN = graph(pixel_values=("F", "P", 6), rotary_cos=("P", 2))


@pytest.fixture
def manifest(scorer) -> m.Manifest:
    return scorer().manifest


def limited(manifest: m.Manifest, **limits: int) -> m.Manifest:
    return msgspec.structs.replace(manifest, limits=msgspec.structs.replace(manifest.limits, **limits))


def sizes(profile: dict[str, m.ShapeProfile]) -> dict[str, tuple[int, int, int]]:
    return {letter: (size.min, size.opt, size.max) for letter, size in profile.items()}


def test_a_large_bundle_has_one_profile_for_long_rows_and_one_for_many(manifest):
    long, short = profiles_of("scorer.joint", SCORER, limited(manifest, L=36_864, N=64))
    assert sizes(long) == {"B": (1, 1, 2), "L": (512, 2048, 8192), "N": (2, 4, 64), "V": (1, 512, 8192)}
    assert sizes(short)["B"] == (1, 16, 64)
    assert sizes(short)["L"] == (16, 128, 512)


def test_no_profile_is_over_the_limits_of_the_bundle(manifest):
    for L, N in ((1, 1), (300, 3), (2048, 16)):
        for profile in profiles_of("scorer.joint", SCORER, limited(manifest, L=L, N=N)):
            assert (profile["L"].max, profile["N"].max) <= (L, N)
            assert all(1 <= size.min <= size.opt <= size.max for size in profile.values())


def test_a_profile_that_the_limits_make_equal_to_another_is_built_once(manifest):
    assert len(profiles_of("vision", graph(pixel_values=("C", 4, 8)), manifest)) == 1


@pytest.mark.parametrize("merge", [2, 3, 5])
def test_patches_are_multiples_of_what_is_merged_into_one_token(merge, manifest):
    merging = msgspec.structs.replace(manifest, family="qwen3_vl", preprocessing={"merge_size": merge})
    asked = [{"P": m.ShapeProfile(min=1, opt=7, max=1001)}]
    for profile in (*profiles_of("vision", QWEN, merging), *profiles_of("vision", QWEN, merging, asked)):
        size = profile["P"]
        assert all(number % merge**2 == 0 for number in (size.min, size.opt, size.max))
        assert 1 <= size.min <= size.opt <= size.max


def test_asked_sizes_take_the_place_of_the_defaults_and_the_other_letters_stay(manifest):
    asked = [parse_profile("L=64:128:256"), parse_profile("B=2:2:2, L=8:8:8")]
    first, second = profiles_of("scorer.joint", SCORER, manifest, asked)
    assert sizes(first)["L"] == (64, 128, 256)
    assert sizes(first)["B"] == (1, 1, 2)
    assert sizes(second)["B"] == (2, 2, 2)


@pytest.mark.parametrize("room", [2**20, 2**26, 2**32])
def test_attention_without_a_fused_kernel_stays_within_the_room_it_is_given(room, manifest):
    large = limited(manifest, L=36_864)
    for role, spec, many, length, heads in (
        ("scorer.joint", SCORER, "B", "L", manifest.attention_heads),
        ("vision", QWEN, "F", "P", manifest.vision_heads),
    ):
        for profile in profiles_of(role, spec, large, room=room):
            assert 4 * heads * profile[many].max * profile[length].max ** 2 <= room
            assert all(1 <= size.min <= size.opt <= size.max for size in profile.values())


def test_an_axis_that_nobody_gave_sizes_is_refused(manifest):
    with pytest.raises(EngineError, match="axes D"):
        profiles_of("vision", graph(x=("D",)), manifest)


@pytest.mark.parametrize(
    "text",
    ["", "L", "L=1", "L=1:2", "L=1:2:3:4", "L=3:2:1", "L=0:1:2", "L=a:b:c", "X=1:2:3", "L=1:2:3,L=1:2:3", "L=-1:2:3"],
)
def test_sizes_that_do_not_read_are_refused_and_shown(text):
    with pytest.raises(ValueError, match="^" + re.escape(repr(text.split(",")[-1]))):
        parse_profile(text)
