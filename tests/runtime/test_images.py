"""Whatever a caller calls an image: the right pixels, or an error that names the image and says what to do."""

from __future__ import annotations

import io
import random
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yoj.runtime.errors import LimitError, MediaError, RequestError
from yoj.runtime.images import ImageRules, load_image

LIMIT = 50_000_000
ADVICE = re.compile(r"\b(give|check|replace|shrink|choose|save|convert)\b", re.IGNORECASE)
FORMATS = ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO"]


def load(image, max_pixels: int = LIMIT) -> np.ndarray:
    pixels = load_image(image, ImageRules(max_pixels), "images[3]").pixels_HWC
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.size
    return pixels


def refusal(image, error: type[RequestError] = MediaError, max_pixels: int = LIMIT) -> str:
    """The text of the error that an image is refused with."""
    with pytest.raises(error) as caught:
        load(image, max_pixels)
    text = str(caught.value)
    assert text.startswith("images[3]")
    assert ADVICE.search(text), f"does not say what to do: {text}"
    assert "BytesIO" not in text, f"speaks of Pillow's objects: {text}"
    return text


def pixels_or_refusal(image, max_pixels: int = LIMIT) -> np.ndarray | str:
    """Where both are right; anything but pixels or an error of ours comes through."""
    try:
        return load(image, max_pixels)
    except RequestError as error:
        text = str(error)
    assert ADVICE.search(text), f"does not say what to do: {text}"
    return text


def picture(height: int = 40, width: int = 50) -> np.ndarray:
    """Smooth, so that lossy formats keep it recognisable."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 / height, x * 255 / width, (x + y) % 256], axis=2).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **options) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


# What is accepted, and as what


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_path_text_path_bytes_pil_image_and_array_give_the_same_pixels(form, tmp_path):
    path = tmp_path / f"picture.{form.lower()}"
    path.write_bytes(encoded(picture(), form))
    for image in (path, str(path), path.read_bytes(), Image.open(path), Image.fromarray(picture()), picture()):
        np.testing.assert_array_equal(load(image), picture())


def test_jpeg_gives_the_same_pixels_from_a_path_bytes_and_a_pil_image(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(picture(), "JPEG"))
    expected = np.asarray(Image.open(path))
    for image in (path, path.read_bytes(), Image.open(path)):
        np.testing.assert_array_equal(load(image), expected)


def test_the_content_decides_and_not_the_suffix(tmp_path):
    path = tmp_path / "really-a-png.jpg"
    path.write_bytes(encoded(picture()))
    np.testing.assert_array_equal(load(path), picture())


def test_a_single_pixel_is_an_image():
    assert load(encoded(np.full((1, 1, 3), 7, np.uint8))).tolist() == [[[7, 7, 7]]]


def test_an_image_20000_pixels_wide_is_read():
    assert load(encoded(picture(2, 20_000))).shape == (2, 20_000, 3)


def test_a_pil_image_of_the_caller_is_left_as_it_was():
    image = Image.fromarray(picture()).convert("RGBA")
    before = image.copy()
    load(image)
    assert image == before


def test_cmyk_jpeg_becomes_rgb():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = encoded(red, "JPEG")
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    pixels = load(data)
    assert (pixels[..., 0] > 245).all()
    assert (pixels[..., 1:] < 10).all()


def test_16_bit_grey_is_scaled_and_not_clipped():
    deep = np.array([[0, 128, 129, 257, 2570, 32768, 65278, 65535]], np.uint16)
    data = encoded(Image.fromarray(deep))
    assert Image.open(io.BytesIO(data)).mode.startswith("I;16")
    assert load(data)[0, :, 0].tolist() == [0, 0, 1, 1, 10, 128, 254, 255]


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_every_kind_of_deep_grey_is_scaled_alike(mode):
    image = Image.new(mode, (2, 2), 32768)
    assert (load(image) == 128).all()


def test_grey_is_the_same_in_all_three_channels():
    grey = picture()[..., 0]
    np.testing.assert_array_equal(load(encoded(grey)), np.repeat(grey[:, :, None], 3, axis=2))


def test_one_bit_pixels_become_black_and_white():
    bits = Image.fromarray(picture()[..., 0] > 100)
    assert bits.mode == "1"
    np.testing.assert_array_equal(load(encoded(bits))[..., 0], (picture()[..., 0] > 100) * 255)


@pytest.mark.parametrize("mode", ["PA", "RGBX", "RGBa", "La", "YCbCr", "HSV", "LAB"])
def test_a_rare_mode_gives_pixels_or_a_clear_error(mode):
    result = pixels_or_refusal(Image.new(mode, (4, 3)))
    assert mode in result if isinstance(result, str) else result.shape == (3, 4, 3)


STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}
"""How a camera stores an upright picture under each EXIF orientation, from the definition of the tag."""


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_rotated_photo_is_turned_upright(orientation, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](picture()))
    data = encoded(stored, form, exif=exif)
    np.testing.assert_array_equal(load(data), picture())
    np.testing.assert_array_equal(load(Image.open(io.BytesIO(data))), picture())


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(load(encoded(picture(), exif=exif)), picture())


@pytest.mark.filterwarnings("ignore")
def test_a_photo_with_unreadable_exif_is_a_photo_or_a_clear_error():
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x05\0\0\0\xff\xff\xff\xff")
    result = pixels_or_refusal(data)
    assert isinstance(result, str) or result.shape == (40, 50, 3)


# What is refused


def test_a_missing_file_is_named(tmp_path):
    assert str(tmp_path / "nothing.png") in refusal(tmp_path / "nothing.png")


def test_a_folder_is_no_image(tmp_path):
    assert str(tmp_path) in refusal(tmp_path)


@pytest.mark.parametrize("text", ["data:image/png;base64," + "A" * 5000, "x" * 300, "", "a\0b", "https://a.b/c.png"])
def test_a_string_that_is_no_path_is_refused(text):
    refusal(text)


def test_a_text_file_named_jpg_is_refused(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("This is no picture.\n" * 50)
    assert str(path) in refusal(path)


def test_empty_bytes_are_refused():
    assert "0 bytes" in refusal(b"")


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    assert str(path) in refusal(path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_truncated_file_is_refused(form, share, tmp_path):
    data = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), form)
    path = tmp_path / f"half.{form.lower()}"
    path.write_bytes(data[: int(len(data) * share)])
    for image in (path, path.read_bytes(), Image.open(path)):
        text = refusal(image)
        assert "truncated" in text or "damaged" in text
    assert str(path) in refusal(path)


def photo_with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    return encoded(picture(9, 11), "JPEG", exif=exif)


def animation() -> bytes:
    return encoded(picture(9, 11), "GIF", save_all=True, append_images=[Image.fromarray(255 - picture(9, 11))])


SAMPLES = {form: encoded(picture(9, 11), form) for form in FORMATS}
SAMPLES |= {"JPEG with EXIF": photo_with_exif(), "animated GIF": animation()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_file_cut_at_any_byte_is_read_or_refused(sample):
    data = SAMPLES[sample]
    for length in range(len(data)):
        pixels_or_refusal(data[:length], max_pixels=1_000_000)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_file_with_damaged_bytes_is_read_or_refused(sample):
    data = SAMPLES[sample]
    dice = random.Random(0)
    for _ in range(1000):
        damaged = bytearray(data)
        for _ in range(dice.choice([1, 2, 8])):
            damaged[dice.randrange(dice.choice([60, len(data)])) % len(data)] = dice.randrange(256)
        pixels_or_refusal(bytes(damaged), max_pixels=1_000_000)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_refused_with_its_number_of_frames(form):
    frames = [Image.fromarray(np.roll(picture(), shift, axis=0)) for shift in range(3)]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    assert "3 frames" in refusal(data)
    assert "3 frames" in refusal(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("form", ["GIF", "WEBP"])
def test_a_still_of_a_format_that_can_move_is_read(form):
    assert load(encoded(picture(), form)).shape == (40, 50, 3)


@pytest.mark.parametrize("kind", ["bytes", "pil", "array"])
def test_an_image_over_the_limit_is_refused_and_the_limit_named(kind):
    image = {"bytes": encoded(picture()), "pil": Image.fromarray(picture()), "array": picture()}[kind]
    text = refusal(image, LimitError, max_pixels=1_999)
    assert "50x40 = 2,000 pixels" in text
    assert "limit is 1,999" in text
    assert load(image, max_pixels=2_000).shape == (40, 50, 3)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked():
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    assert f"{LIMIT:,}" in refusal(bomb, LimitError)


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.zeros((4, 5, 3)), "float64 [4, 5, 3]"),
        (np.zeros((4, 5, 3), np.float32), "float32 [4, 5, 3]"),
        (np.zeros((4, 5, 3), np.int8), "int8 [4, 5, 3]"),
        (np.zeros((4, 5), np.uint8), "uint8 [4, 5]"),
        (np.zeros((3, 4, 5), np.uint8), "uint8 [3, 4, 5]"),
        (np.zeros((4, 5, 4), np.uint8), "uint8 [4, 5, 4]"),
        (np.zeros((1, 4, 5, 3), np.uint8), "uint8 [1, 4, 5, 3]"),
        (np.zeros((0, 5, 3), np.uint8), "uint8 [0, 5, 3]"),
        (np.zeros((4, 0, 3), np.uint8), "uint8 [4, 0, 3]"),
    ],
)
def test_an_array_of_another_kind_is_refused_with_its_type_and_shape(array, shown):
    assert shown in refusal(array)


@pytest.mark.parametrize("size", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_a_pil_image_without_pixels_is_refused(mode, size):
    refusal(Image.new(mode, size))


@pytest.mark.parametrize("image", [None, 5, 1.5, ["a.png"], object()])
def test_what_is_no_image_at_all_is_refused_by_its_type(image):
    assert type(image).__name__ in refusal(image)


def test_floating_point_pixels_are_refused():
    assert "floating-point" in refusal(Image.new("F", (4, 3), 0.5))


@pytest.mark.parametrize("value", [-1, 200, 1_000_000])
def test_32_bit_pixels_whose_white_is_unknown_are_refused(value):
    assert "32-bit" in refusal(Image.new("I", (4, 3), value))


def test_a_closed_pil_image_is_refused(tmp_path):
    path = tmp_path / "closed.png"
    path.write_bytes(encoded(picture()))
    image = Image.open(path)
    image.close()
    refusal(image)


def test_a_file_named_by_a_relative_path_is_found(tmp_path, monkeypatch):
    (tmp_path / "here.png").write_bytes(encoded(picture()))
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(load("here.png"), picture())
    np.testing.assert_array_equal(load(Path("here.png")), picture())
