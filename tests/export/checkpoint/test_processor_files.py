"""Which processor file counts, part by part, and what may stand in it: transformers' own reading is the yardstick."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_qwen3_vl import TinyQwen, write_qwen
from transformers import AutoImageProcessor
from transformers.image_processing_base import ImageProcessingMixin
from transformers.models.molmo2.image_processing_molmo2 import Molmo2ImageProcessor
from transformers.models.molmo2.video_processing_molmo2 import Molmo2VideoProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.video_processing_utils import BaseVideoProcessor

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint._processor_files import IMAGE_FILE, UNIFIED, VIDEO_FILE, find_part
from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.families import FAMILIES
from yoj.export.families._molmo2 import Molmo2Export
from yoj.export.families._qwen3_vl import Qwen3VLExport
from yoj.runtime.families.qwen3_vl import Qwen3VL as RuntimeQwen3VL

DATA = Path(__file__).parents[2] / "golden" / "data"
STATED = {
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "size": {"shortest_edge": 1024, "longest_edge": 4096},
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.3, 0.4],
    "patch_size": 8,
}
UNIFIED_KINDS = {
    "absent": None,
    "own settings": {"processor_class": "Qwen3VLProcessor"},
    "image": {"image_processor": {"name": "nested image"}},
    "video": {"video_processor": {"name": "nested video"}},
    "both": {"image_processor": {"name": "nested image"}, "video_processor": {"name": "nested video"}},
    "null": {"image_processor": None, "video_processor": None},
}


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return write_qwen(TinyQwen(), tmp_path_factory.mktemp("qwen") / "checkpoint")


@pytest.fixture
def merged(qwen, tmp_path):
    """A Qwen3-VL checkpoint without a processor file."""
    folder = shutil.copytree(qwen, tmp_path / "merged")
    remove(folder)
    return folder


def remove(folder: Path) -> None:
    for name in (UNIFIED, IMAGE_FILE, VIDEO_FILE):
        (folder / name).unlink(missing_ok=True)


def write(folder: Path, **files: object) -> None:
    names = {"unified": UNIFIED, "image": IMAGE_FILE, "video": VIDEO_FILE}
    for kind, content in files.items():
        (folder / names[kind]).write_text(json.dumps(content), "utf-8")


def open_qwen(folder: Path, *more: Path) -> Qwen3VLExport:
    checkpoint = Checkpoint.open([folder], *more, training=Training("post_norm"))
    family = FAMILIES["qwen3_vl"](checkpoint)
    assert isinstance(family, Qwen3VLExport)
    return family


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_qwen(folder).preprocessing()
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("unified", UNIFIED_KINDS)
@pytest.mark.parametrize(("image", "video"), list(itertools.product([True, False], repeat=2)))
def test_the_file_that_counts_is_that_of_transformers(unified, image, video, merged):
    content = UNIFIED_KINDS[unified]
    files = {"unified": content} if content is not None else {}
    files |= {"image": {"name": "image file"}} if image else {}
    files |= {"video": {"name": "video file"}} if video else {}
    write(merged, **files)
    checkpoint = Checkpoint.open([merged], training=Training("post_norm"))
    for names, stock in (
        (("image_processor", IMAGE_FILE), ImageProcessingMixin.get_image_processor_dict),
        (("video_processor", VIDEO_FILE, IMAGE_FILE), BaseVideoProcessor.get_video_processor_dict),
    ):
        try:
            expected, _ = stock(merged, local_files_only=True)
        except OSError:
            with pytest.raises(CheckpointError, match=rf"{names[1]} is missing .*Copy processor_config\.json"):
                find_part(checkpoint, *names)
        else:
            assert find_part(checkpoint, *names).values == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "files",
    [
        {"image": STATED},
        {
            "image": STATED,
            "unified": {"image_processor": STATED | {"size": {"shortest_edge": 64, "longest_edge": 900}}},
        },
        {"image": STATED, "unified": {"processor_class": "Qwen3VLProcessor"}},
        {"image": STATED | {"min_pixels": 5000, "max_pixels": 9000}},
        {"image": STATED | {"max_pixels": 2000}},
        {"image": STATED | {"image_mean": 0.1, "image_std": 0.7}},
        {"image": {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 8}},
        {"image": {name: value for name, value in STATED.items() if name != "size"}},
        {"image": {name: value for name, value in STATED.items() if name != "image_mean"}},
    ],
)
def test_a_picture_becomes_what_the_stock_processor_makes_of_it(files, merged):
    """A picture of one colour, so that no way of resizing changes a pixel."""
    write(merged, video={}, **files)
    stock = AutoImageProcessor.from_pretrained(merged, local_files_only=True, trust_remote_code=False)
    runtime = RuntimeQwen3VL(open_qwen(merged).preprocessing(), lambda _: 0)
    for height, width in ((40, 70), (300, 90)):
        picture = np.full((height, width, 3), (10, 100, 220), np.uint8)
        expected = stock(picture, return_tensors="np")
        got = runtime.prepare_image(picture)
        assert [1, *(2 * side for side in got.grids[0])] == expected["image_grid_thw"][0].tolist()
        np.testing.assert_allclose(got.arrays["pixel_values"][0], expected["pixel_values"], rtol=0, atol=1e-6)


def test_the_defaults_are_those_of_the_classes(merged):
    write(merged, image={"patch_size": 8}, video={"patch_size": 8})
    got = open_qwen(merged).preprocessing()
    for kind, stock in (("image", Qwen2VLImageProcessorPil), ("video", Qwen3VLVideoProcessor)):
        assert (got[f"{kind}_min_pixels"], got[f"{kind}_max_pixels"]) == tuple(stock.size.values())
        assert (tuple(got[f"{kind}_mean"]), tuple(got[f"{kind}_std"])) == (
            tuple(stock.image_mean),
            tuple(stock.image_std),
        )
    stock = Qwen3VLVideoProcessor
    assert (got["video_fps"], got["video_min_frames"], got["video_max_frames"]) == (
        stock.fps,
        stock.min_frames,
        stock.max_frames,
    )


def test_the_video_processor_has_forgotten_the_older_spelling_of_the_areas(merged):
    size = {"shortest_edge": 4096, "longest_edge": 9000}
    write(merged, image=STATED, video={"min_pixels": 1, "max_pixels": 2, "size": size})
    stock = Qwen3VLVideoProcessor(min_pixels=1, max_pixels=2, size=size)
    got = open_qwen(merged).preprocessing()
    assert (got["video_min_pixels"], got["video_max_pixels"]) == (stock.size.shortest_edge, stock.size.longest_edge)


@pytest.fixture
def adapter(tmp_path):
    """A Molmo2 adapter and its base, with the base's processor files alone."""
    folder = shutil.copytree(DATA / "checkpoint-adapter", tmp_path / "adapter")
    for name in (UNIFIED, IMAGE_FILE, VIDEO_FILE):
        shutil.move(folder / name, folder / "base" / name)
    return folder


def open_molmo2(folder: Path) -> Molmo2Export:
    family = FAMILIES["molmo2"](Checkpoint.open([folder]))
    assert isinstance(family, Molmo2Export)
    return family


def image_of(folder: Path) -> dict:
    return json.loads((folder / IMAGE_FILE).read_text("utf-8"))


def test_the_newer_file_of_an_adapter_wins_over_an_older_one_of_its_base(adapter):
    base = adapter / "base"
    assert open_molmo2(adapter).preprocessing()["max_crops"] == 8
    video = json.loads((base / VIDEO_FILE).read_text("utf-8")) | {"pooling_size": [2, 3]}
    tokens = {"image_use_col_tokens": False}
    write(adapter, unified={"image_processor": image_of(base) | {"max_crops": 4}, "video_processor": video} | tokens)
    got = open_molmo2(adapter).preprocessing()
    assert (got["max_crops"], tuple(got["video_pooling_size"]), got["column_tokens"]) == (4, (2, 3), False)


def test_an_older_file_of_an_adapter_wins_over_a_newer_one_of_its_base(adapter):
    base = adapter / "base"
    write(base, unified={"image_processor": image_of(base) | {"max_crops": 4}})
    write(adapter, image=image_of(base) | {"max_crops": 6})
    assert open_molmo2(adapter).preprocessing()["max_crops"] == 6


def test_a_part_that_the_adapter_lacks_is_the_bases(adapter):
    """What the training read: a picture file alone says nothing of videos while the base does."""
    write(adapter, image=image_of(adapter / "base") | {"max_crops": 6})
    image, video = open_molmo2(adapter).processor_parts()
    assert (image.place, video.place) == (f"adapter/{IMAGE_FILE}", f"base/{VIDEO_FILE}")


def test_one_file_of_transformers_5_is_enough_for_molmo2(tmp_path):
    folder = shutil.copytree(DATA / "checkpoint-merged", tmp_path / "merged")
    before = open_molmo2(folder).preprocessing()
    image, video, tokens = (
        json.loads((folder / name).read_text("utf-8")) for name in (IMAGE_FILE, VIDEO_FILE, UNIFIED)
    )
    remove(folder)
    write(folder, unified=tokens | {"image_processor": image, "video_processor": video})
    assert open_molmo2(folder).preprocessing() == before


def test_the_defaults_of_molmo2_are_those_of_the_classes(tmp_path):
    folder = shutil.copytree(DATA / "checkpoint-merged", tmp_path / "merged")
    size = {"size": {"height": 182, "width": 182}}
    write(folder, unified={}, image=size, video=size)
    got = open_molmo2(folder).preprocessing()
    stock = Molmo2ImageProcessor
    for name in ("image_mean", "image_std", "max_crops", "overlap_margins", "pooling_size"):
        assert np.array_equal(got[name], getattr(stock, name))
    assert (list(got["video_pooling_size"]), got["video_max_fps"]) == (
        Molmo2VideoProcessor.pooling_size,
        Molmo2VideoProcessor.max_fps,
    )


def test_no_file_at_all_is_an_error_that_names_the_base(merged):
    config = json.loads((merged / "config.json").read_text("utf-8"))
    (merged / "config.json").write_text(json.dumps(config | {"_name_or_path": "Qwen/Qwen3-VL-4B-Instruct"}), "utf-8")
    text = refusal(merged)
    for part in (str(merged), IMAGE_FILE, UNIFIED, "from Qwen/Qwen3-VL-4B-Instruct"):
        assert part in text


BAD = [
    ("size", [1024, 4096]),
    ("size", 448),
    ("size", "large"),
    ("size", {"longest_edge": 4096}),
    ("size", {"shortest_edge": 0, "longest_edge": 4096}),
    ("size", {"shortest_edge": 8192, "longest_edge": 4096}),
    ("size", {"shortest_edge": True, "longest_edge": 4096}),
    ("size", {"shortest_edge": 1024.5, "longest_edge": 4096}),
    ("min_pixels", -1),
    ("min_pixels", 0),
    ("max_pixels", "4096"),
    ("image_std", [0.2, 0, 0.2]),
    ("image_std", [0.2, -0.1, 0.2]),
    ("image_std", 0),
    ("image_std", [0.2, 0.2]),
    ("image_std", None),
    ("image_mean", [0.5, float("nan"), 0.5]),
    ("image_mean", [float("inf")] * 3),
    ("image_mean", ["0.5"] * 3),
    ("image_mean", "half"),
    ("image_mean", {"r": 1}),
    ("patch_size", -8),
    ("patch_size", "8"),
    ("merge_size", 3),
    ("temporal_patch_size", 1),
    ("do_resize", False),
    ("do_normalize", None),
    ("do_rescale", 1),
    ("rescale_factor", 1 / 127.5),
    ("resample", 2),
    ("image_processor_type", "CLIPImageProcessor"),
    ("image_processor_type", ["Qwen2VLImageProcessor"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), BAD)
@pytest.mark.parametrize("nested", [False, True])
def test_a_malformed_value_is_named_with_its_file(name, value, nested, merged):
    bad = STATED | {name: value}
    write(merged, video={}, **({"unified": {"image_processor": bad}} if nested else {"image": bad}))
    text = refusal(merged)
    assert str(merged / (UNIFIED if nested else IMAGE_FILE)) in text
    assert f"{'image_processor.' if nested else ''}{name} is {value!r}" in text
    assert "Copy the file from the model that was trained" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fps", 0),
        ("fps", None),
        ("fps", "2"),
        ("fps", float("nan")),
        ("min_frames", -1),
        ("max_frames", 2.5),
        ("num_frames", 8),
        ("do_sample_frames", False),
        ("cap_pixels_per_frame", True),
        ("size", [1, 2]),
        ("image_std", [1, 1, 0]),
        ("video_processor_type", "LlavaOnevisionVideoProcessor"),
    ],
)
def test_a_malformed_value_of_the_video_is_named(name, value, merged):
    write(merged, image=STATED, video={name: value})
    text = refusal(merged)
    assert str(merged / VIDEO_FILE) in text
    assert f"{name} is {value!r}" in text


@pytest.mark.parametrize("content", [[1], "text", 7, True])
def test_a_part_that_is_no_object_is_told(content, merged):
    write(merged, image=STATED, unified={"image_processor": content})
    assert f"{merged / UNIFIED}: image_processor is {content!r}, expected an object" in refusal(merged)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        (IMAGE_FILE, "max_crops", 0),
        (IMAGE_FILE, "max_crops", "8"),
        (IMAGE_FILE, "overlap_margins", [2]),
        (IMAGE_FILE, "overlap_margins", [-1, 2]),
        (IMAGE_FILE, "overlap_margins", [7, 7]),
        (IMAGE_FILE, "pooling_size", [0, 2]),
        (IMAGE_FILE, "image_std", [0, 0, 0]),
        (IMAGE_FILE, "size", [182, 182]),
        (IMAGE_FILE, "patch_size", -14),
        (VIDEO_FILE, "size", {"height": 378, "width": 378}),
        (VIDEO_FILE, "image_mean", [0.4, 0.5, 0.6]),
        (VIDEO_FILE, "max_fps", 0),
        (VIDEO_FILE, "num_frames", -4),
        (VIDEO_FILE, "fps", 3),
        (UNIFIED, "image_use_col_tokens", "false"),
        (UNIFIED, "use_single_crop_start_token", None),
        (UNIFIED, "use_frame_special_tokens", 1),
    ],
)
def test_a_malformed_value_of_molmo2_is_named(file, name, value, tmp_path):
    folder = shutil.copytree(DATA / "checkpoint-merged", tmp_path / "merged")
    content = json.loads((folder / file).read_text("utf-8")) | {name: value}
    (folder / file).write_text(json.dumps(content), "utf-8")
    with pytest.raises(CheckpointError) as caught:
        open_molmo2(folder).preprocessing()
    assert str(folder / file) in str(caught.value)
    assert f"{name} is {value!r}" in str(caught.value)
