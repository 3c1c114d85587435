"""Qwen3-VL's pixels, tables, placeholders and positions against what transformers publishes."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from packs import pack_one, script
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as official_image_size
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel, Qwen3VLVisionRotaryEmbedding
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as official_video_size
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from yoj.runtime.errors import MediaError
from yoj.runtime.families import FAMILIES
from yoj.runtime.families.qwen3_vl import (
    Qwen3VL,
    Qwen3VLPreprocessing,
    learned_positions,
    rotary_positions,
    smart_resize,
)
from yoj.runtime.manifest import Layout, Piece, Turns
from yoj.runtime.packing import Pack, Packer
from yoj.runtime.script import Script
from yoj.runtime.text import TextEncoder
from yoj.runtime.video import Timeline

pytestmark = pytest.mark.parity

SPECIAL = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|im_start|>", "<|resp_sep|>"]
FIRST_SPECIAL = 256
"""The tokenizer of these tests has one token for each byte, then the special ones."""

RELEASED = {
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_min_pixels": 65536,
    "image_max_pixels": 16777216,
    "video_min_pixels": 4096,
    "video_max_pixels": 25165824,
    "video_fps": 2.0,
    "video_min_frames": 4,
    "video_max_frames": 768,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
    "video_mean": (0.5, 0.5, 0.5),
    "video_std": (0.5, 0.5, 0.5),
    "position_grid": 48,
    "vision_head_dim": 64,
    "vision_theta": 10000.0,
}
SETTINGS = {
    "released": RELEASED,
    "tiny": RELEASED
    | {
        "patch_size": 4,
        "image_min_pixels": 16 * 16,
        "image_max_pixels": 64 * 64,
        "video_min_pixels": 4 * 16 * 16,
        "video_max_pixels": 8 * 48 * 48,
        "position_grid": 6,
        "vision_head_dim": 24,
    },
    # No released model has these; every pair differs, so that none can be swapped unseen.
    "uneven": RELEASED
    | {
        "patch_size": 5,
        "temporal_patch_size": 3,
        "merge_size": 3,
        "image_min_pixels": 40 * 40,
        "image_max_pixels": 150 * 150,
        "video_min_pixels": 6 * 30 * 30,
        "video_max_pixels": 9 * 100 * 100,
        "video_fps": 1.5,
        "video_min_frames": 6,
        "video_max_frames": 20,
        "image_mean": (0.48, 0.45, 0.4),
        "image_std": (0.27, 0.26, 0.28),
        "video_mean": (0.3, 0.5, 0.6),
        "video_std": (0.2, 0.3, 0.4),
        "position_grid": 7,
        "vision_head_dim": 40,
        "vision_theta": 500.0,
    },
}
KINDS = st.sampled_from(["tiny", "uneven"])

SIDES = st.one_of(st.integers(1, 40), st.integers(1, 300))
THIN = st.integers(1, 6).flatmap(lambda side: st.tuples(st.just(side), st.integers(150 * side, 200 * side)))
SIZES = st.one_of(
    st.tuples(SIDES, SIDES).filter(lambda size: max(size) <= 200 * min(size)), THIN, THIN.map(lambda size: size[::-1])
)
"""Of pictures that the reference takes."""


def family(kind: str, **changes) -> Qwen3VL:
    return Qwen3VL(SETTINGS[kind] | changes, lambda name: FIRST_SPECIAL + SPECIAL.index(name))


def picture(size: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def by_pillow(image_HWC: np.ndarray, size: SizeDict, resample: int) -> np.ndarray:
    assert resample == PILImageResampling.BICUBIC
    across = Image.fromarray(image_HWC).resize((size.width, image_HWC.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(across.resize((size.width, size.height), Image.Resampling.BICUBIC))


class _ImageResize(PilBackend):
    def resize(self, image, size, resample=None, **_):
        return by_pillow(image.transpose(1, 2, 0), size, resample).transpose(2, 0, 1)


class OfficialImages(Qwen2VLImageProcessorPil, _ImageResize):
    """The published processor with one order of Pillow's passes, whatever Pillow's version."""


class _VideoFunctions(BaseVideoProcessor):
    def resize(self, image, size, resample=None, **_):
        frames = image[0].permute(0, 2, 3, 1).numpy()
        resized = np.stack([by_pillow(image_HWC, size, resample) for image_HWC in frames])
        return torch.from_numpy(resized).permute(0, 3, 1, 2)[None]

    def normalize(self, image, mean, std, **_):
        return (image - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


class OfficialVideos(Qwen3VLVideoProcessor, _VideoFunctions):
    """The published processor with torchvision's two functions written out, so that torchvision need not be there."""


def arguments(kind: str, medium: str) -> dict:
    s = SETTINGS[kind]
    return {
        "do_resize": True,
        "size": SizeDict(shortest_edge=s[f"{medium}_min_pixels"], longest_edge=s[f"{medium}_max_pixels"]),
        "resample": PILImageResampling.BICUBIC,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": s[f"{medium}_mean"],
        "image_std": s[f"{medium}_std"],
        **{name: s[name] for name in ("patch_size", "temporal_patch_size", "merge_size")},
        "return_tensors": "np",
    }


def check(kind: str, prepared, pixels: np.ndarray, grid: list[int]) -> None:
    """A prepared medium against the official patches and the official grid of frames, rows and columns."""
    frames, rows, columns = grid
    merge = SETTINGS[kind]["merge_size"]
    ours = prepared.arrays["pixel_values"]
    assert ours.dtype == np.float32
    assert ours.shape == (frames, rows * columns, pixels.shape[-1])
    np.testing.assert_allclose(ours.reshape(pixels.shape), pixels, rtol=0, atol=1e-6)
    assert prepared.grids == ((rows // merge, columns // merge),) * frames
    assert prepared.rows == frames * rows * columns // merge**2
    assert prepared.group == ("frames", rows, columns)


def check_image(kind: str, image_HWC: np.ndarray) -> None:
    expected = OfficialImages()._preprocess([image_HWC.transpose(2, 0, 1)], **arguments(kind, "image"))
    prepared = family(kind).prepare_image(image_HWC)
    check(kind, prepared, expected["pixel_values"], expected["image_grid_thw"][0].tolist())
    (span,) = prepared.spans
    assert span.ids.tolist() == [FIRST_SPECIAL] * prepared.rows


def check_video(kind: str, frames_FHWC: np.ndarray) -> None:
    settings_of = arguments(kind, "video") | {"cap_pixels_per_frame": False}
    expected = OfficialVideos()._preprocess([torch.from_numpy(frames_FHWC).permute(0, 3, 1, 2)], **settings_of)
    prepared = family(kind).prepare_video(frames_FHWC, np.arange(len(frames_FHWC)) / 2)
    check(kind, prepared, expected["pixel_values_videos"], expected["video_grid_thw"][0].tolist())


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(kind=KINDS, size=SIZES)
@example(kind="tiny", size=(1, 1))
@example(kind="tiny", size=(1, 200))
@example(kind="uneven", size=(200, 1))
@example(kind="tiny", size=(20, 12))  # 2.5 and 1.5 visual tokens: both round to 2
@example(kind="released", size=(1, 200))
@example(kind="released", size=(31, 33))
@example(kind="released", size=(480, 640))
@example(kind="released", size=(272, 304))
def test_images_are_the_official_ones(kind, size):
    check_image(kind, picture(size))


@pytest.mark.slow
@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.20"),
    reason="the video processor of this transformers calls torchvision itself",
)
@settings(deadline=None, max_examples=50)
@given(kind=KINDS, size=SIZES, frames=st.integers(3, 9))
@example(kind="tiny", size=(1, 1), frames=2)
@example(kind="tiny", size=(7, 500), frames=5)
@example(kind="tiny", size=(3, 3), frames=7)
@example(kind="released", size=(31, 33), frames=4)
@example(kind="released", size=(120, 200), frames=3)
def test_videos_are_the_official_ones(kind, size, frames):
    check_video(kind, picture((frames, *size)))


LONG_SIDES = st.integers(1, 20000)


@pytest.mark.slow
@settings(deadline=None, max_examples=400)
@given(kind=st.sampled_from(list(SETTINGS)), height=LONG_SIDES, width=LONG_SIDES, frames=st.integers(3, 800))
@example(kind="released", height=10, width=2000, frames=4)
@example(kind="released", height=10, width=2001, frames=4)
@example(kind="released", height=2001, width=10, frames=4)
@example(kind="tiny", height=1, width=199, frames=40)
def test_sizes_and_refusals_are_the_official_ones(kind, height, width, frames):
    """Of pictures that would take long to resize. Media that the reference refuses are refused."""
    s, model = SETTINGS[kind], family(kind)
    factor = s["patch_size"] * s["merge_size"]
    limits = {"min_pixels": s["image_min_pixels"], "max_pixels": s["image_max_pixels"]}
    try:
        expected = official_image_size(height, width, factor, **limits)
    except ValueError:
        assert max(height, width) > 200 * min(height, width)
        with pytest.raises(MediaError, match=rf"{width}x{height} pixels.*times.*200"):
            model.prepare_image(np.broadcast_to(np.uint8(0), (height, width, 3)))
    else:
        assert smart_resize(height, width, factor, **limits) == expected
    limits = {"min_pixels": s["video_min_pixels"], "max_pixels": s["video_max_pixels"]}
    try:
        expected = official_video_size(frames, height, width, s["temporal_patch_size"], factor, **limits)
    except ValueError:
        with pytest.raises(MediaError, match=r"pixels.*times.*200"):
            model._frame_size(frames, height, width)
    else:
        assert model._frame_size(frames, height, width) == expected


@pytest.mark.parametrize("frames", [1, 2])
def test_a_video_shorter_than_a_patch_is_filled_with_its_last_frame(frames):
    """The reference refuses it."""
    frames_FHWC = picture((frames, 50, 60))
    filled = np.concatenate([frames_FHWC, np.repeat(frames_FHWC[-1:], 3 - frames, axis=0)])
    short = family("uneven").prepare_video(frames_FHWC, [1.0, 3.0][:frames])
    full = family("uneven").prepare_video(filled, [1.0, 3.0, 3.0] if frames == 2 else [1.0] * 3)
    np.testing.assert_array_equal(short.arrays["pixel_values"], full.arrays["pixel_values"])
    assert [span.text for span in short.spans] == [span.text for span in full.spans]
    assert short.spans[0].text == ("<2.0 seconds>" if frames == 2 else "<1.0 seconds>")
    assert short.grids == full.grids


def test_too_many_frames_are_refused_with_both_numbers():
    frames_FHWC = np.broadcast_to(np.uint8(0), (21, 40, 40, 3))
    with pytest.raises(MediaError, match=r"F=21 frames.* 20\. Give fewer"):
        family("uneven").prepare_video(frames_FHWC, range(21))
    assert family("uneven").prepare_video(frames_FHWC[:20], range(20)).grids


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    kind=KINDS,
    indices=st.lists(st.integers(0, 5000), min_size=3, max_size=10).map(sorted),
    fps=st.sampled_from([1.0, 2.0, 24.0, 30.0, 29.97, 0.25, 60000 / 1001]),
)
def test_a_video_is_written_as_the_official_processor_writes_it(kind, indices, fps):
    s = SETTINGS[kind]
    prepared = family(kind).prepare_video(picture((len(indices), 20, 30)), [i / fps for i in indices])
    rows, columns = (side * s["merge_size"] for side in prepared.grids[0])
    processor = SimpleNamespace(
        video_processor=SimpleNamespace(merge_size=s["merge_size"], temporal_patch_size=s["temporal_patch_size"]),
        video_token="<|video_pad|>",
        vision_start_token="<|vision_start|>",
        vision_end_token="<|vision_end|>",
    )
    processor._calculate_timestamps = functools.partial(Qwen3VLProcessor._calculate_timestamps, processor)
    inputs = {
        "video_grid_thw": np.array([[len(prepared.grids), rows, columns]]),
        "video_metadata": [VideoMetadata(6000, fps=fps, frames_indices=list(indices))],
    }
    written = "".join(
        span.text if span.ids is None else "".join(SPECIAL[i - FIRST_SPECIAL] for i in span.ids)
        for span in prepared.spans
    )
    assert written == Qwen3VLProcessor.replace_video_token(processor, inputs, 0)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(kind=st.sampled_from(list(SETTINGS)), frames=st.integers(1, 30000), fps=st.floats(0.2, 240))
@example(kind="released", frames=1, fps=30.0)
@example(kind="released", frames=3, fps=30.0)
@example(kind="released", frames=100000, fps=24.0)
def test_the_official_frames_of_a_file_are_taken(kind, frames, fps):
    s = SETTINGS[kind]
    names = ("fps", "min_frames", "max_frames")
    expected = OfficialVideos(**{name: s[f"video_{name}"] for name in names}).sample_frames(VideoMetadata(frames, fps))
    assert family(kind).sample_frames(Timeline(frames, fps)) == expected.tolist()


GRIDS = st.integers(1, 3).flatmap(
    lambda merge: st.tuples(st.integers(1, 70), st.integers(1, 70)).map(lambda g: (g[0] * merge, g[1] * merge, merge))
)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(grid=GRIDS, side=st.integers(1, 48))
@example(grid=(2, 2, 2), side=48)
@example(grid=(1, 1, 1), side=48)
@example(grid=(400, 400, 2), side=48)
def test_learned_positions_are_the_official_ones(grid, side):
    rows, columns, merge = grid
    index_P4, weight_P4 = learned_positions(rows, columns, merge, side)
    expected = get_vision_interpolation_indices_and_weights(
        torch.tensor([[1, rows, columns]]), side, "bilinear", align_corners=True, spatial_merge_size=merge
    )
    assert (index_P4.dtype, weight_P4.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(index_P4, expected[0].numpy())
    np.testing.assert_array_equal(weight_P4, expected[1].numpy())


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(grid=GRIDS, head_dim=st.integers(1, 24).map(lambda n: 4 * n), theta=st.sampled_from([10000.0, 500.0]))
@example(grid=(2, 400, 2), head_dim=72, theta=10000.0)
def test_rotary_positions_are_the_official_ones(grid, head_dim, theta):
    rows, columns, merge = grid
    config = SimpleNamespace(rope_parameters={"rope_type": "axial", "rope_theta": theta}, head_dim=head_dim)
    places = get_vision_position_ids(torch.tensor([[1, rows, columns]]), merge)
    official = Qwen3VLVisionRotaryEmbedding(config)
    # PyTorch's float32 power is one unit off for some exponents, and for others from one kind of CPU to the next.
    exponent = torch.arange(0, head_dim // 2, 2, dtype=torch.float32) / (head_dim // 2)
    rounded = 1.0 / torch.pow(theta, exponent.double()).float()
    torch.testing.assert_close(official.inv_freq, rounded, rtol=3e-7, atol=0)
    official.inv_freq = rounded
    expected = official(torch.zeros(1), places)
    for ours, theirs in zip(rotary_positions(rows, columns, merge, head_dim, theta), expected, strict=True):
        assert ours.dtype == np.float32
        # The reference repeats the first half.
        np.testing.assert_allclose(np.tile(ours, 2), theirs.numpy(), rtol=0, atol=5e-7)


def test_an_image_and_the_frames_of_a_video_of_the_same_size_go_together():
    model = family("tiny")
    image, video = model.prepare_image(picture((24, 32))), model.prepare_video(picture((4, 24, 32), 1), range(4))
    assert image.group == video.group
    inputs = model.vision_inputs([image, video, image])
    pixels = [medium.arrays["pixel_values"] for medium in (image, video, image)]
    np.testing.assert_array_equal(inputs["pixel_values"], np.concatenate(pixels))
    assert inputs["pixel_values"].shape == (4, 6 * 8, 3 * 2 * 4 * 4)
    for name, table in zip(("position_index", "position_weight"), learned_positions(6, 8, 2, 6), strict=True):
        np.testing.assert_array_equal(inputs[name], table)
    for name, table in zip(("rotary_cos", "rotary_sin"), rotary_positions(6, 8, 2, 24, 10000.0), strict=True):
        np.testing.assert_array_equal(inputs[name], table)
    assert model.prepare_image(picture((32, 24))).group != image.group


def test_what_a_caller_writes_does_not_reach_the_kept_tables():
    model = family("tiny")
    media = [model.prepare_image(picture((24, 32)))]
    inputs = model.vision_inputs(media)
    before = {name: array.copy() for name, array in inputs.items()}
    for array in inputs.values():
        array[:] = 0
    for name, array in model.vision_inputs(media).items():
        assert before[name].any()
        if name != "pixel_values":
            np.testing.assert_array_equal(array, before[name])


# Positions


def piece(value: str) -> Piece:
    return Piece(kind="token" if value in SPECIAL else "text", value=value)


MEDIUM = (piece("<|vision_start|>"), Piece(kind="medium"), piece("<|vision_end|>"))
LAYOUT = Layout(
    name="assistant",
    separator="<|resp_sep|>",
    separator_id=FIRST_SPECIAL + SPECIAL.index("<|resp_sep|>"),
    glue="\n\n",
    text_only=Turns(before={"user": (piece("<|im_start|>"),), "user>assistant": (piece("<|im_start|>"),)}, after=()),
    with_media=Turns(
        before={"user": (piece("<|im_start|>"),), "user>assistant": (piece("<|im_start|>"),)}, after=(piece("\n"),)
    ),
    one_image=MEDIUM,
    each_image=(piece("Picture "), Piece(kind="index"), piece(": "), *MEDIUM),
    video=MEDIUM,
)


@pytest.fixture(scope="module")
def packer() -> Packer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return Packer(TextEncoder(tokenizer), LAYOUT, 10**6)


MEDIA = {
    "none": [],
    "one image": ["image 24 40"],
    "two images of different size": ["image 24 40", "image 60 20"],
    "video": ["video 5 30 22"],
    "image and video": ["image 50 20", "video 4 20 50"],
    "images and video": ["image 8 8", "image 9 60", "video 1 16 16"],
}


def prepare(kind: str, media: list[str]) -> list:
    """``image H W`` or ``video F H W`` -> prepared media."""
    model, prepared = family(kind), []
    for name, *size in (medium.split() for medium in media):
        pixels = picture(tuple(map(int, size)))
        prepared.append(
            model.prepare_image(pixels) if name == "image" else model.prepare_video(pixels, range(len(pixels)))
        )
    return prepared


def request(media: list[str], responses: list[str]) -> Script:
    images = sum(medium.startswith("image") for medium in media)
    return script("Which is it?", responses, images, len(media) - images)


def by_transformers(kind: str, ids_L: np.ndarray, prepared: list) -> np.ndarray:
    """``get_rope_index`` [3, L] of one row."""
    merge = SETTINGS[kind]["merge_size"]
    grids: dict[int, list] = {1: [], 2: []}
    for medium in prepared:
        rows, columns = medium.grids[0]
        is_video = any(span.text for span in medium.spans)
        grids[1 + is_video].append([len(medium.grids), rows * merge, columns * merge])
    types_L = np.select([ids_L == FIRST_SPECIAL, ids_L == FIRST_SPECIAL + 1], [1, 2], 0)
    model = SimpleNamespace(
        config=SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=merge)),
        get_vision_position_ids=functools.partial(Qwen3VLModel.get_vision_position_ids, None),
    )
    positions, _ = Qwen3VLModel.get_rope_index(
        model,
        torch.from_numpy(ids_L)[None],
        torch.from_numpy(types_L)[None],
        image_grid_thw=torch.tensor(grids[1]) if grids[1] else None,
        video_grid_thw=torch.tensor(grids[2]) if grids[2] else None,
    )
    return positions[:, 0].numpy()


def positions(kind: str, pack: Pack, prepared: list) -> np.ndarray:
    inputs = family(kind).token_inputs(pack, prepared)
    assert list(inputs) == ["position_ids"]
    assert inputs["position_ids"].dtype == np.int64
    return inputs["position_ids"]


@pytest.mark.parametrize("kind", ["tiny", "uneven"])
@pytest.mark.parametrize("media", MEDIA.values(), ids=MEDIA)
def test_joint_positions_are_the_official_ones(packer, kind, media):
    prepared = prepare(kind, media)
    pack = pack_one(packer, request(media, ["A cat.", "", "Two red cars."]), [medium.spans for medium in prepared])
    visual = np.isin(pack.input_ids_L, family(kind).visual_tokens)
    assert visual.sum() == sum(medium.rows for medium in prepared)
    np.testing.assert_array_equal(positions(kind, pack, prepared), by_transformers(kind, pack.input_ids_L, prepared))


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(
    media=st.lists(st.tuples(st.integers(8, 80), st.integers(8, 80)), max_size=4),
    frames=st.integers(0, 5),
    responses=st.lists(st.text("ab \n", max_size=9), min_size=1, max_size=4),
)
def test_joint_positions_of_any_media(packer, media, frames, responses):
    names = [f"image {height} {width}" for height, width in media]
    names += [f"video {frames} 40 24"] if frames else []
    prepared = prepare("tiny", names)
    pack = pack_one(packer, request(names, responses), [medium.spans for medium in prepared])
    np.testing.assert_array_equal(
        positions("tiny", pack, prepared), by_transformers("tiny", pack.input_ids_L, prepared)
    )


@pytest.mark.parametrize("media", MEDIA.values(), ids=MEDIA)
def test_isolated_positions_are_those_of_single_passes(packer, media):
    prepared = prepare("uneven", media)
    spans = [medium.spans for medium in prepared]
    responses = ["A cat.", "Two red cars.", "", "A dog"]
    pack = pack_one(packer, request(media, responses), spans, mode="isolated")
    ours = positions("uneven", pack, prepared)
    for number, response in enumerate(responses):
        alone = pack_one(packer, request(media, [response]), spans)
        read = np.isin(pack.segment_L, [0, number + 1])
        np.testing.assert_array_equal(pack.input_ids_L[read], alone.input_ids_L)
        np.testing.assert_array_equal(ours[:, read], by_transformers("uneven", alone.input_ids_L, prepared))


def test_media_inside_isolated_responses_move_only_their_own_response():
    """No request has them yet; nothing may assume that media stand in the prompt."""
    first, second, third = prepared = prepare("tiny", ["image 24 40", "image 60 20", "image 16 48"])
    text = np.arange(5)
    parts = [[text, first, text], [text, second, text], [text[:2]], [third, text]]
    ids, media, segments, index = [], [], [], []
    for segment, part in enumerate(parts):
        begin = sum(map(len, ids[:3])) if segment else 0
        for item in part:
            tokens = item if isinstance(item, np.ndarray) else item.spans[0].ids
            number = next((k + 1 for k, medium in enumerate(prepared) if medium is item), 0)
            ids.append(tokens)
            media.append(np.full(len(tokens), number))
            segments.append(np.full(len(tokens), segment))
            index.append(begin + np.arange(len(tokens)))
            begin += len(tokens)
    ids_L, media_L, segment_L, index_L = map(np.concatenate, (ids, media, segments, index))
    none = np.zeros(0, np.int64)
    ours = positions("tiny", Pack(ids_L, media_L, segment_L, index_L, none, none), prepared)
    for number, shown in enumerate([[first, second], [first], [first, third]]):
        read = np.isin(segment_L, [0, number + 1])
        np.testing.assert_array_equal(ours[:, read], by_transformers("tiny", ids_L[read], shown))


# Settings


def test_the_family_is_registered_and_names_its_visual_tokens():
    assert FAMILIES["qwen3_vl"] is Qwen3VL
    assert family("released").visual_tokens == (FIRST_SPECIAL, FIRST_SPECIAL + 1)


def test_settings_survive_json_missing_ones_are_refused_and_those_of_later_versions_left_alone():
    written = msgspec.json.decode(msgspec.json.encode(msgspec.convert(RELEASED, Qwen3VLPreprocessing)))
    assert msgspec.convert(written, Qwen3VLPreprocessing) == msgspec.convert(RELEASED, Qwen3VLPreprocessing)
    family("released", added_later=4)  # a bundle whose numbers depend on it names the reader that it needs
    with pytest.raises(msgspec.ValidationError, match="video_fps"):
        Qwen3VL({name: value for name, value in RELEASED.items() if name != "video_fps"}, SPECIAL.index)
