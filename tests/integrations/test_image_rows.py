"""Rows of trainers of image models: what is of one group, and what is wrong with a row."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from yoj.integrations._image_rows import ImageGroups, read_rows
from yoj.runtime import MediaError, RequestError

IMAGES = np.zeros((3, 4, 4, 3), np.uint8)
PROMPTS = ["Recolour it"] * 3
RED, BLUE = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
ANY = ImageGroups(None)


def digests(prompts=PROMPTS, metadata=None, ref_images=None, groups=ANY) -> list[int]:
    """Number of the first row of the same group, for each row."""
    found = [row.digest for row in read_rows(IMAGES, prompts, metadata, ref_images, groups)]
    return [found.index(one) for one in found]


def test_rows_of_one_prompt_and_the_same_pictures_are_one_group():
    assert digests() == [0, 0, 0]
    assert digests(["a", "b", "a"]) == [0, 1, 0]
    assert digests(ref_images=[RED, BLUE, RED.copy()]) == [0, 1, 0]
    assert digests(ref_images=[RED, None, [RED]]) == [0, 1, 0]
    assert digests(ref_images=[[RED, BLUE], [BLUE, RED], [RED]]) == [0, 1, 2]
    assert digests(ref_images=torch.tensor([0.0, 1.0, 0.0]).reshape(3, 1, 1, 1).expand(3, 3, 4, 4)) == [0, 1, 0]


def test_metadata_names_the_pictures():
    metadata = [{"image": "a.png", "x": k} for k in range(3)]
    metadata[1]["image"] = "b.png"
    assert digests(metadata=metadata) == [0, 0, 0]
    assert digests(metadata=metadata, groups=ImageGroups(None, source_keys=("image",))) == [0, 1, 0]
    assert digests(metadata=metadata, groups=ImageGroups(None, group_key="x")) == [0, 1, 2]


def test_paths_stand_under_the_root_and_pictures_in_the_order_of_the_keys():
    groups = ImageGroups(None, source_keys=("control", "image"), source_root="data")
    row, *_ = read_rows(IMAGES[:1], ["p"], [{"image": "a.png", "control": [RED, "/b.png"]}], [BLUE], groups)
    assert row.sources == (RED, Path("/b.png"), Path("data/a.png"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompts": PROMPTS[:2]}, "There are 3 images and 2 prompts"),
        ({"prompts": "abc"}, "There are 3 images and 3 prompts; give a prompt for each image"),
        ({"prompts": ["a", 3, "b"]}, "prompts[1] is 3; give a text"),
        ({"metadata": [{}]}, "metadata has 1 entries; there are 3 images"),
        ({"metadata": {"a": 1}}, "metadata has the type dict; there are 3 images"),
        ({"metadata": [{}, None, {}]}, "metadata[1] is None; give a mapping"),
        ({"ref_images": [RED]}, "There are 3 images and 1 ref_images"),
        ({"ref_images": [RED, RED, np.zeros((4, 4), np.uint8)]}, "ref_images[2] has the shape [4, 4]"),
        ({"ref_images": [RED, np.full((4, 4, 3), np.nan), RED]}, "ref_images[1] has 48 of 48 numbers that are NaN"),
        (
            {"metadata": [{"image": "a"}, {"picture": "b"}, {}], "groups": ImageGroups(None, ("image",))},
            "metadata[1] has no 'image', of source_keys; it has picture",
        ),
        (
            {"metadata": [{}] * 3, "groups": ImageGroups(None, group_key="id")},
            "metadata[0] has no 'id', of group_key",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_row(given, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        digests(**given)


def test_a_source_that_cannot_be_compared_is_refused(tmp_path):
    RED.save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file, pytest.raises(MediaError, match="the group's other samples"):
        digests(ref_images=[file, RED, RED])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 0}, "size is 0; give the number of images of a prompt, or None"),
        ({"size": "4"}, "size is '4'"),
        ({"size": True}, "size is True"),
        ({"size": 4, "source_keys": "image"}, "source_keys is 'image'; give a tuple of keys, such as ('image',)"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        ImageGroups(**given)
