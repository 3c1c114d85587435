"""Images of trainers of image models against Pillow and arithmetic by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from yoj.integrations._generated import generated_image, generated_images
from yoj.runtime import MediaError, RequestError

DRAWN = np.random.default_rng(3).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
TENSOR = torch.from_numpy(DRAWN).permute(0, 3, 1, 2) / 255
"""The same images as a pipeline gives them with ``output_type="pt"``."""


@pytest.mark.parametrize(
    "images",
    [
        TENSOR,
        TENSOR.double(),
        TENSOR.requires_grad_(),
        (TENSOR * 255).round().to(torch.uint8),
        DRAWN,
        DRAWN.astype(np.float32) / 255,
        DRAWN[:, ::-1][:, ::-1],
        list(TENSOR),
        list(DRAWN),
        (TENSOR[0], DRAWN[1], DRAWN[2] / 255),
    ],
    ids=["float32", "float64", "grad", "uint8", "array", "float array", "view", "tensors", "arrays", "mixed"],
)
def test_every_form_of_a_batch_gives_the_pixels(images):
    found = generated_images(images, "images")
    assert all(isinstance(one, np.ndarray) and one.dtype == np.uint8 and one.flags.c_contiguous for one in found)
    np.testing.assert_array_equal(np.stack(found), DRAWN)


def test_half_precision_is_rounded_as_the_trainer_rounds_it():
    low = TENSOR.to(torch.bfloat16)
    right = (low.float() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(np.stack(generated_images(low, "images")), right)


def test_pictures_paths_and_bytes_stay_what_they_are():
    given = [Image.fromarray(DRAWN[0]), "a.png", b"PNG"]
    assert all(one is other for one, other in zip(generated_images(given, "images"), given, strict=True))
    assert generated_image("a.png", "image") == "a.png"


def test_rounding_may_go_past_the_ends():
    image = np.full((2, 2, 3), 1 + 0.4 / 255)
    image[0] = -0.4 / 255
    (found,) = generated_images([image], "images")
    assert found[0].tolist() == [[0] * 3] * 2
    assert found[1].tolist() == [[255] * 3] * 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_with_numbers_that_are_not_finite_stands_as_its_error(value):
    images = TENSOR.detach().clone()
    images[1, 2, 0, 0] = value
    first, second, third = generated_images(images, "images")
    assert isinstance(second, MediaError)
    assert "images[1] has 1 of 105 numbers that are NaN or infinite" in str(second)
    np.testing.assert_array_equal([first, third], DRAWN[[0, 2]])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (TENSOR[0], "images has the shape [3, 5, 7], and a batch of images has four axes"),
        (TENSOR[None], "images has the shape [1, 3, 3, 5, 7]"),
        (TENSOR[:, :2], "images[0] has the shape [2, 5, 7], and an image is [3, H, W] in the form of a tensor"),
        (TENSOR.permute(0, 2, 3, 1), "images[0] has the shape [5, 7, 3], and an image is [3, H, W]"),
        (np.moveaxis(DRAWN, -1, 1), "images[0] has the shape [3, 5, 7], and an image is [H, W, 3] in the form of an"),
        (DRAWN[:, :0], "images[0] has the shape [0, 7, 3]"),
        ([DRAWN[0], DRAWN[1, :, :, :1]], "images[1] has the shape [5, 7, 1]"),
        ([DRAWN[0], DRAWN], "images[1] has the shape [3, 5, 7, 3]"),
        ([DRAWN[0], DRAWN[1].astype(np.int64)], "images[1] has numbers of the type int64; give uint8, or floats"),
        ([DRAWN[0], DRAWN[1].astype(float)], "images[1] has numbers from "),
        (TENSOR * 2 - 1, "images[0] has numbers from -"),
        ("a.png", "images is 'a.png', no batch of images"),
        (None, "images is None, no batch of images"),
    ],
)
def test_what_is_no_image_is_named_with_its_place(images, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        generated_images(images, "images")
