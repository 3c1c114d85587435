"""Molmo2's pixels, tables and image tokens against the processor that transformers publishes."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yoj.runtime.families.molmo2 import IMAGE_TOKENS, Molmo2, pool, select_tiling

official = pytest.importorskip(
    "transformers.models.molmo2.image_processing_molmo2", reason="this transformers has no Molmo2 to compare with"
)
from transformers.image_utils import PILImageResampling, SizeDict  # noqa: E402
from transformers.models.molmo2.processing_molmo2 import Molmo2Processor  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("several_threads")]
MERGED = Path(__file__).parents[2] / "golden" / "data" / "checkpoint-merged"

TINY = {"crop_size": 182, "overlap_margins": (2, 2), "image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
REAL = TINY | {"crop_size": 378, "overlap_margins": (4, 4)}
UNEVEN = {
    "crop_size": 182,
    "overlap_margins": (3, 1),
    "image_mean": (0.48, 0.45, 0.4),
    "image_std": (0.27, 0.26, 0.28),
    "max_crops": 5,
    "pooling_size": (3, 2),
}
"""No released model has these; every pair differs, so that none can be swapped unseen."""
SETTINGS = {
    name: {
        "patch_size": 14,
        "max_crops": 8,
        "pooling_size": (2, 2),
        "column_tokens": True,
        "overview_column_tokens": False,
        "overview_start": "<low_res_im_start>",
        "video_pooling_size": (3, 3),
        "video_column_tokens": False,
        "frame_start": "<frame_start>",
        "frame_end": "<frame_end>",
        "video_max_fps": 2,
        "video_max_frames": 16,
    }
    | values
    for name, values in {"tiny": TINY, "real": REAL, "uneven": UNEVEN}.items()
}

SIDES = st.one_of(st.integers(1, 120), st.integers(1, 1200))
NARROW = st.tuples(st.integers(1, 6), st.integers(500, 6000))
SIZES = st.one_of(st.tuples(SIDES, SIDES), NARROW, NARROW.map(lambda size: size[::-1]))


class Official(official.Molmo2ImageProcessor):
    """The published processor with torchvision's two functions written out, so that torchvision need not be there."""

    def resize(self, image, size, resample=None, antialias=True, **_):
        assert image.is_floating_point()
        assert resample == PILImageResampling.BILINEAR
        assert antialias is False
        return torch.nn.functional.interpolate(
            image, (size.height, size.width), mode="bilinear", align_corners=False, antialias=False
        )

    def normalize(self, image, mean, std, inplace=False, **_):
        return (image - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


def by_transformers(kind: str, images_HWC: list[np.ndarray]):
    s = SETTINGS[kind]
    return Official()._preprocess(
        [torch.from_numpy(image).permute(2, 0, 1) for image in images_HWC],
        do_resize=True,
        size=SizeDict(height=s["crop_size"], width=s["crop_size"]),
        resample=PILImageResampling.BILINEAR,
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=s["image_mean"],
        image_std=s["image_std"],
        do_convert_rgb=True,
        max_crops=s["max_crops"],
        overlap_margins=list(s["overlap_margins"]),
        patch_size=s["patch_size"],
        pooling_size=list(s["pooling_size"]),
        disable_grouping=None,
        return_tensors="np",
    )


def family(kind: str, **changes) -> Molmo2:
    return Molmo2(SETTINGS[kind] | changes, IMAGE_TOKENS.index)


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def levels(kind: str, pixels: np.ndarray) -> np.ndarray:
    """Undo the normalisation: the 0..255 levels that were normalised."""
    mean, std = (np.tile(SETTINGS[kind][name], pixels.shape[-1] // 3) for name in ("image_mean", "image_std"))
    exact = (pixels * std + mean) * 255
    assert np.abs(exact - np.rint(exact)).max() < 1e-3
    return np.rint(exact).astype(np.uint8)


def check_one(kind: str, image_HWC: np.ndarray) -> None:
    expected = by_transformers(kind, [image_HWC])
    prepared = family(kind).prepare_image(image_HWC)
    pixels, pooling = prepared.arrays["pixel_values"], prepared.arrays["pooling_index"]
    assert pixels.dtype == np.float32
    assert pixels.shape == expected["pixel_values"].shape
    np.testing.assert_array_equal(levels(kind, pixels), levels(kind, expected["pixel_values"]))
    np.testing.assert_allclose(pixels, expected["pixel_values"], rtol=0, atol=1e-6)
    assert pooling.dtype == np.int64
    np.testing.assert_array_equal(pooling, expected["image_token_pooling"])
    low_h, low_w, high_h, high_w = expected["image_grids"][0].tolist()
    assert prepared.rows == len(pooling) == low_h * low_w + high_h * high_w
    assert names(prepared.spans[0].ids).count("<im_patch>") == prepared.rows
    # Only the rows of the crops end with a column token in these settings.
    assert names(prepared.spans[0].ids).count("<im_col>") == high_h


def names(ids: np.ndarray) -> list[str]:
    return [IMAGE_TOKENS[i] for i in ids]


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(size=SIZES)
@example(size=(1, 1))
@example(size=(56, 56))  # as small as both margins together: the reference divides by zero
@example(size=(55, 57))  # smaller than the margins one way
@example(size=(182, 182))
@example(size=(1, 4000))
@example(size=(4000, 1))
def test_a_tiny_model_gets_the_official_pixels_and_table(size):
    check_one("tiny", picture(size))


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(size=SIZES)
@example(size=(1, 1))
@example(size=(112, 112))
@example(size=(111, 2000))
@example(size=(378, 378))
@example(size=(1080, 1920))
@example(size=(2, 6000))
def test_a_released_model_gets_the_official_pixels_and_table(size):
    check_one("real", picture(size))


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(size=SIZES)
def test_uneven_margins_and_windows_are_not_swapped(size):
    check_one("uneven", picture(size))


@pytest.mark.slow
@settings(deadline=None, max_examples=10)
@given(sizes=st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), min_size=2, max_size=4))
@example(sizes=[(90, 120), (90, 120), (300, 40)])
def test_tables_of_several_images_count_over_all_their_crops(sizes):
    images_HWC = [picture(size, seed) for seed, size in enumerate(sizes)]
    expected = by_transformers("tiny", images_HWC)
    molmo2 = family("tiny")
    prepared = [molmo2.prepare_image(image_HWC) for image_HWC in images_HWC]
    inputs = molmo2.vision_inputs(prepared)
    np.testing.assert_array_equal(inputs["pooling_index"], expected["image_token_pooling"])
    np.testing.assert_allclose(inputs["pixel_values"], expected["pixel_values"], rtol=0, atol=1e-6)
    assert [len(image.arrays["pixel_values"]) for image in prepared] == expected["image_num_crops"].tolist()


def test_joining_images_leaves_each_as_it_was():
    molmo2 = family("tiny")
    images = [molmo2.prepare_image(picture((90, 120), seed)) for seed in range(2)]
    before = [image.arrays["pooling_index"].copy() for image in images]
    molmo2.vision_inputs(images)
    for image, table in zip(images, before, strict=True):
        np.testing.assert_array_equal(image.arrays["pooling_index"], table)


SIZE_LESS_MARGIN = st.integers(-112, 2500)


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(
    height=SIZE_LESS_MARGIN,
    width=SIZE_LESS_MARGIN,
    window=st.sampled_from([14, 126, 266]),
    max_crops=st.integers(1, 24),
)
@example(height=0, width=0, window=126, max_crops=8)
@example(height=0, width=-5, window=126, max_crops=8)
@example(height=266, width=532, window=266, max_crops=8)
def test_the_tiling_is_the_official_one(height, width, window, max_crops):
    assert select_tiling(height, width, window, max_crops) == official.select_tiling(height, width, window, max_crops)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_pooling_windows_are_the_official_ones(rows, columns, window):
    patches = np.arange(rows * columns).reshape(rows, columns)
    grid = pool(patches, window)
    table, pooled_rows, pooled_columns = official.arange_for_pooling(torch.from_numpy(patches), *window)
    np.testing.assert_array_equal(grid.table_VK, table)
    assert (grid.rows, grid.columns) == (pooled_rows, pooled_columns)


FLAGS = list(itertools.product([True, False], [None, True, False], [True, False]))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return shutil.copytree(MERGED, tmp_path_factory.mktemp("flags") / "checkpoint")


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "overview_columns", "overview_start"), FLAGS)
def test_image_tokens_are_those_of_the_official_processor(columns, overview_columns, overview_start, checkpoint):
    """From the flags in the checkpoint's file, by way of the export, to the tokens in the row."""
    from yoj.export.checkpoint.checkpoint import Checkpoint
    from yoj.export.families import FAMILIES

    flags = {
        "image_use_col_tokens": columns,
        "use_single_crop_col_tokens": overview_columns,
        "use_single_crop_start_token": overview_start,
    }
    (checkpoint / "processor_config.json").write_text(json.dumps(flags), "utf-8")
    molmo2 = Molmo2(FAMILIES["molmo2"](Checkpoint.open([checkpoint])).preprocessing(), IMAGE_TOKENS.index)
    processor = object.__new__(Molmo2Processor)
    for name, value in flags.items():
        setattr(processor, name, value)
    for size in [(90, 300), (182, 182), (700, 60)]:
        image_HWC = picture(size)
        expected = processor.replace_image_token(by_transformers("tiny", [image_HWC]), 0)
        assert "".join(names(molmo2.prepare_image(image_HWC).spans[0].ids)) == expected
