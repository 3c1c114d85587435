"""Pictures that are not opaque: on white as the stock processors put them, or by the colours stored under it."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers.image_transforms import convert_to_rgb

from yoj.runtime.images import ImageRules, load_image

MEDIA = Path(__file__).parents[1] / "data" / "media"
LIMIT = 10_000_000
ON_WHITE = ("images[0]: transparent parts were put on white",)


def load(image, transparency="white"):
    return load_image(image, ImageRules(LIMIT, transparency), "images[0]")


def by_the_stock_processor(image: Image.Image) -> np.ndarray:
    return convert_to_rgb(image, return_numpy=True)


def png(image: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def colours(height: int = 40, width: int = 50) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 / height, x * 255 / width, (x + y) % 256], axis=2).astype(np.uint8)


def translucent() -> Image.Image:
    alpha = np.random.default_rng(0).integers(0, 256, (40, 50, 1), dtype=np.uint8)
    return Image.fromarray(np.concatenate([colours(), alpha], axis=2), "RGBA")


def palette() -> Image.Image:
    return Image.fromarray(colours()).quantize(16)


def encoded(kind: str) -> bytes:
    colour, grey = Image.fromarray(colours()), Image.fromarray(colours()).convert("L")
    return {
        "RGBA": lambda: png(translucent()),
        "LA": lambda: png(translucent().convert("LA")),
        "palette, alpha of each colour": lambda: png(palette(), transparency=bytes(range(0, 256, 16))),
        "palette, one clear colour": lambda: png(palette(), transparency=3),
        "RGB, one clear colour": lambda: png(colour, transparency=tuple(colours()[3, 4].tolist())),
        "grey, one clear level": lambda: png(grey, transparency=grey.getpixel((4, 3))),
        "one bit, clear black": lambda: png(grey.convert("1"), transparency=0),
    }[kind]()


KINDS = [
    "RGBA", "LA", "palette, alpha of each colour", "palette, one clear colour", "RGB, one clear colour",
    "grey, one clear level", "one bit, clear black",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_transparency_is_put_on_white_as_the_stock_processor_does(kind):
    data = encoded(kind)
    expected = by_the_stock_processor(Image.open(io.BytesIO(data)))
    assert (expected != np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[..., :3]).any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in (data, Image.open(io.BytesIO(data))):
            picture = load(image)
            np.testing.assert_array_equal(picture.pixels_HWC, expected)
            assert picture.notices == ON_WHITE


@pytest.mark.parametrize("kind", KINDS)
def test_dropped_transparency_shows_the_stored_colours_and_is_said(kind):
    data = encoded(kind)
    picture = load(data, "drop")
    np.testing.assert_array_equal(picture.pixels_HWC, np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[..., :3])
    assert picture.notices == ("images[0]: transparency was ignored, so the colours stored under it show",)


@pytest.mark.slow
def test_a_picture_of_more_than_one_strip_is_converted_like_a_small_one():
    wide = Image.fromarray(np.tile(np.asarray(translucent()), (30, 40, 1)))
    np.testing.assert_array_equal(load(png(wide)).pixels_HWC, by_the_stock_processor(wide))


def test_premultiplied_modes_of_pillow_are_put_on_white_too():
    expected = by_the_stock_processor(translucent().convert("RGBa").convert("RGBA"))
    np.testing.assert_array_equal(load(translucent().convert("RGBa")).pixels_HWC, expected)
    grey = translucent().convert("LA").convert("La")
    np.testing.assert_array_equal(load(grey).pixels_HWC, by_the_stock_processor(grey.convert("LA")))


def test_a_palette_with_an_alpha_channel_is_put_on_white():
    image = palette().convert("PA")
    image.putalpha(translucent().getchannel("A"))
    assert image.mode in ("PA", "RGBA")
    np.testing.assert_array_equal(load(image).pixels_HWC, by_the_stock_processor(image))


@pytest.mark.parametrize("transparency", ["white", "drop"])
def test_an_alpha_channel_that_is_all_opaque_is_not_worth_a_word(transparency):
    opaque = translucent()
    opaque.putalpha(255)
    picture = load(png(opaque), transparency)
    np.testing.assert_array_equal(picture.pixels_HWC, colours())
    assert picture.notices == ()


def test_a_clear_colour_that_no_pixel_has_is_not_worth_a_word():
    picture = load(png(Image.fromarray(colours()), transparency=(1, 2, 3)))
    np.testing.assert_array_equal(picture.pixels_HWC, colours())
    assert picture.notices == ()


@pytest.mark.parametrize("transparency", ["white", "drop"])
def test_a_clear_level_of_16_bit_grey_is_white_or_what_it_is(transparency):
    deep = Image.fromarray(np.array([[0, 257, 32768, 65535]], np.uint16))
    data = png(deep, transparency=257)
    if Image.open(io.BytesIO(data)).info.get("transparency") != 257:
        pytest.skip("this Pillow does not write the clear level of 16-bit grey")
    picture = load(data, transparency)
    assert picture.pixels_HWC[0, :, 0].tolist() == [0, 255 if transparency == "white" else 1, 128, 255]
    assert len(picture.notices) == 1


def test_16_bit_colour_with_alpha_is_put_on_white():
    # 16-bit RGBA: one clear and one opaque pixel; Pillow reads it with 8 bits and cannot write it.
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + struct.pack(">8H", 0, 0, 0, 0, 65535, 0, 0, 65535)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 6, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    picture = load(data)
    assert picture.pixels_HWC.tolist() == [[[255, 255, 255], [255, 0, 0]]]
    assert picture.notices == ON_WHITE


def test_two_black_drawings_on_clear_ground_are_two_pictures():
    square, ellipse = (load(MEDIA / f"transparent_ink_{shape}.png") for shape in ("sq", "el"))
    assert (square.pixels_HWC != ellipse.pixels_HWC).any()
    assert square.notices == ellipse.notices == ON_WHITE
    for shape, picture in (("sq", square), ("el", ellipse)):
        expected = by_the_stock_processor(Image.open(MEDIA / f"transparent_ink_{shape}.png"))
        np.testing.assert_array_equal(picture.pixels_HWC, expected)
    assert not load(MEDIA / "transparent_ink_sq.png", "drop").pixels_HWC.any()


def test_a_callers_transparent_image_is_left_as_it_was():
    image = translucent()
    before = image.copy()
    load(image)
    assert image == before
