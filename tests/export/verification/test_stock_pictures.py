"""The closing comparison sees pictures that were prepared otherwise than the checkpoint's own processor does."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from tiny_qwen3_vl import TinyQwen, write_qwen
from transformers import AutoImageProcessor
from transformers.image_processing_base import ImageProcessingMixin
from transformers.models.molmo2.image_processing_molmo2 import Molmo2ImageProcessor

from yoj.export._errors import FidelityError
from yoj.export.bundle._build import build
from yoj.export.bundle._config import ExportConfig
from yoj.export.checkpoint.checkpoint import Checkpoint, Training
from yoj.export.families import FAMILIES
from yoj.export.families._qwen3_vl import Qwen3VLExport
from yoj.export.verification._stock_pictures import compare_pictures
from yoj.export.verification.fidelity import Fidelity
from yoj.runtime.families import FAMILIES as RUNTIME

MERGED = Path(__file__).parents[2] / "golden" / "data" / "checkpoint-merged"
IMAGES = [
    np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    for seed, size in enumerate([(70, 50), (64, 300)])
]


class Told:
    """Progress of an export, kept."""

    def __init__(self):
        self.notes: list[str] = []

    def stage(self, name: str, bytes_to_write: int = 0) -> None: ...

    def advance(self, count: int) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def folder(tmp_path):
    return write_qwen(TinyQwen(), tmp_path / "checkpoint")


def compare(folder: Path, **changed):
    """With settings that the export would have read wrongly."""
    checkpoint = Checkpoint.open([folder], training=Training("post_norm"))
    family = FAMILIES[checkpoint.family](checkpoint)
    runtime = RUNTIME[checkpoint.family](family.preprocessing() | changed, lambda _: 0)
    return compare_pictures(checkpoint, runtime, IMAGES, family.stock_image)


def test_what_agrees_is_said(folder):
    found = compare(folder)
    assert (found.processor, found.images, found.problem) == ("Qwen2VLImageProcessorPil", 2, None)
    assert found.levels < 0.5
    assert "2 images, mean difference up to 0." in found.text


WRONG = {
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.25, 0.25, 0.25),
    "image_max_pixels": 2048,
    "image_min_pixels": 8192,
    "patch_size": 16,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_every_wrong_setting_is_seen(name, folder):
    assert compare(folder, **{name: WRONG[name]}).problem is not None


@pytest.mark.export
def test_an_export_with_wrong_pixels_leaves_no_bundle(folder, tmp_path, monkeypatch):
    """As the reading of the processor files once was wrong: the scores of both sides agree."""
    right = Qwen3VLExport.preprocessing
    monkeypatch.setattr(Qwen3VLExport, "preprocessing", lambda self: right(self) | {"image_mean": (0.5, 0.5, 0.5)})
    recipe = ExportConfig([folder], None, "assistant", tmp_path / "judge.yoj", training=Training("post_norm"))
    with pytest.raises(FidelityError, match=r"own processor makes of them: .* levels of 256 on average, allowed 1"):
        build(recipe, Told())
    assert not (tmp_path / "judge.yoj").exists()


@pytest.mark.export
def test_the_result_of_an_export_says_what_was_compared(folder, tmp_path):
    told, out = Told(), tmp_path / "judge.yoj"
    manifest, fidelity = build(ExportConfig([folder], None, "assistant", out, training=Training("post_norm")), told)
    assert fidelity is not None
    assert fidelity.pictures is not None
    assert fidelity.pictures.processor == "Qwen2VLImageProcessorPil"
    assert fidelity.pictures.text in told.notes
    assert fidelity.pictures.text in (out / "README.md").read_text("utf-8")
    assert msgspec.json.decode((out / "fidelity.json").read_bytes(), type=list[Fidelity]) == [fidelity]
    settings = {"image": "checkpoint/preprocessor_config.json", "video": "checkpoint/video_preprocessor_config.json"}
    assert manifest.provenance.processor == settings
    assert "image settings: checkpoint/preprocessor_config.json" in told.notes


def test_a_processor_that_cannot_be_loaded_here_is_said():
    """Molmo2's own needs torchvision; where it is there, the comparison is made."""
    found = compare(MERGED)
    if importlib.util.find_spec("torchvision"):
        assert (found.processor, found.problem) == ("Molmo2ImageProcessor", None)
    else:
        assert found.processor is None
        assert "pictures were not compared" in found.text
        assert "torchvision" in found.text
        assert str(MERGED) not in found.text


class Official(Molmo2ImageProcessor):
    """The published processor with torchvision's two functions written out, so that torchvision need not be there."""

    def __call__(self, image_HWC, **_):
        s = self
        return self._preprocess(
            [torch.from_numpy(image_HWC).permute(2, 0, 1)],
            do_resize=True, size=s.size, resample=s.resample, do_rescale=True, rescale_factor=1 / 255,
            do_normalize=True,
            image_mean=tuple(s.image_mean), image_std=tuple(s.image_std), do_convert_rgb=True, max_crops=s.max_crops,
            overlap_margins=s.overlap_margins, patch_size=s.patch_size, pooling_size=s.pooling_size,
            disable_grouping=None, return_tensors="np",
        )  # fmt: skip

    def resize(self, image, size, resample=None, antialias=True, **_):
        return torch.nn.functional.interpolate(image, (size.height, size.width), mode="bilinear")

    def normalize(self, image, mean, std, inplace=False, **_):
        return (image - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stated", "agrees"), [({}, True), ({"max_crops": 1}, False), ({"image_std": [0.4] * 3}, False)]
)
def test_molmo2_is_compared_with_the_file_that_transformers_reads(stated, agrees, tmp_path, monkeypatch):
    """The folder says one thing and the runtime was given another; torchvision's kernels alone are replaced."""
    folder = shutil.copytree(MERGED, tmp_path / "merged")

    def load(place, **_):
        settings, _ = ImageProcessingMixin.get_image_processor_dict(place, local_files_only=True)
        return Official(**settings)

    monkeypatch.setattr(AutoImageProcessor, "from_pretrained", load)
    before = Checkpoint.open([folder])
    family = FAMILIES["molmo2"](before)
    runtime = RUNTIME["molmo2"](family.preprocessing(), lambda _: 0)
    settings = json.loads((folder / "preprocessor_config.json").read_text("utf-8")) | stated
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}), "utf-8")
    found = compare_pictures(before, runtime, IMAGES, family.stock_image)
    assert found.processor == "Official"
    assert (found.problem is None) == agrees
