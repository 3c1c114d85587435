"""Where pictures and videos may come from: bytes-like objects, open files, HEIC; and what huge pictures cost."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yoj.runtime.errors import MediaError
from yoj.runtime.images import ImageRules, load_image
from yoj.runtime.video import Film, VideoRules, load_video

MEDIA = Path(__file__).parents[1] / "data" / "media"
RULES = ImageRules(10_000_000)


class OnlyRead:
    """A stream that cannot go back, such as an answer of a server."""

    def __init__(self, content: bytes):
        self._content = content

    def read(self) -> bytes:
        content, self._content = self._content, b""
        return content


class Raw(io.RawIOBase):
    """The same as the standard library writes it: a file that says it is not seekable."""

    def __init__(self, content: bytes):
        self._stream = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, target) -> int:
        return self._stream.readinto(target)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def noise(height: int = 9, width: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


WAYS = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "part of a memoryview": lambda content: memoryview(b"--" + content + b"--")[2:-2],
    "BytesIO": io.BytesIO,
    "buffered": lambda content: io.BufferedReader(Raw(content)),
    "raw, not seekable": Raw,
    "only read": OnlyRead,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_is_read_from_every_kind_of_content(way):
    np.testing.assert_array_equal(load_image(WAYS[way](png(noise())), RULES).pixels_HWC, noise())


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("file", ["clip.mp4", "gif_last_frame_held.gif"])
def test_a_video_is_read_from_every_kind_of_content(way, file):
    pytest.importorskip("av")
    rules = VideoRules(4, RULES)
    expected = load_video(Film(MEDIA / file), rules, lambda t: list(range(t.frames)))
    clip = load_video(Film(WAYS[way]((MEDIA / file).read_bytes())), rules, lambda t: list(range(t.frames)))
    np.testing.assert_array_equal(clip.frames_FHWC, expected.frames_FHWC)
    assert (clip.seconds_F, clip.given) == (expected.seconds_F, expected.given)


def test_a_seekable_file_is_read_from_its_beginning_and_left_where_it_was(tmp_path):
    (tmp_path / "a.png").write_bytes(png(noise()))
    with (tmp_path / "a.png").open("rb") as file:
        file.seek(7)
        for _ in range(2):
            np.testing.assert_array_equal(load_image(file, RULES).pixels_HWC, noise())
            assert file.tell() == 7


def test_frames_of_a_list_may_be_open_files():
    frames = [io.BytesIO(png(noise())), OnlyRead(png(255 - noise()))]
    clip = load_video(Film(frames), VideoRules(4, RULES), lambda t: [])
    np.testing.assert_array_equal(clip.frames_FHWC, [noise(), 255 - noise()])


# HEIC


def test_a_heic_photo_is_read_from_a_path_and_from_its_bytes():
    heif = pytest.importorskip("pillow_heif")
    file = MEDIA / "phone.heic"
    expected = np.asarray(heif.open_heif(file).to_pillow().convert("RGB"))
    for image in (file, file.read_bytes(), io.BytesIO(file.read_bytes())):
        np.testing.assert_array_equal(load_image(image, RULES).pixels_HWC, expected)


def test_reading_heic_leaves_pillows_own_list_of_formats_alone():
    pytest.importorskip("pillow_heif")
    load_image(MEDIA / "phone.heic", RULES)
    assert "HEIF" not in Image.OPEN


def test_heic_without_its_reader_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for image in (MEDIA / "phone.heic", (MEDIA / "phone.heic").read_bytes()):
        with pytest.raises(MediaError, match=r"HEIC picture.*pip install 'yoj\[heic\]'"):
            load_image(image, RULES)


def test_avif_is_no_heic(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    stream = io.BytesIO()
    Image.fromarray(noise()).save(stream, "AVIF", quality=100)
    assert load_image(stream.getvalue(), RULES).pixels_HWC.shape == (9, 12, 3)


def test_a_heic_file_cut_off_is_refused():
    pytest.importorskip("pillow_heif")
    content = (MEDIA / "phone.heic").read_bytes()
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(MediaError, match=r"Replace|Check"):
            load_image(content[: int(share * len(content))], RULES)


def test_a_heic_photo_is_no_video():
    with pytest.raises(MediaError, match=r"HEIC picture. Give it as an image"):
        load_video(Film(MEDIA / "phone.heic"), VideoRules(4, RULES), lambda t: [0])


# What bad input gets


def test_a_file_opened_as_text_is_refused():
    with pytest.raises(MediaError, match=r"gives str instead of bytes. Give one opened with 'rb'"):
        load_image(io.StringIO("text"), RULES)


def test_a_file_that_is_closed_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png(noise()))
    file = (tmp_path / "a.png").open("rb")
    file.close()
    with pytest.raises(MediaError, match=r"cannot be read: .*closed"):
        load_image(file, RULES)


def test_an_empty_stream_is_refused():
    with pytest.raises(MediaError, match="0 bytes"):
        load_image(OnlyRead(b""), RULES)
    with pytest.raises(MediaError, match="0 bytes"):
        load_video(Film(OnlyRead(b"")), VideoRules(4, RULES), lambda t: [0])


# Memory

PEAK = """
import resource, sys
import numpy as np
from yoj.runtime.images import ImageRules, load_image
from yoj.runtime._resize import bicubic, bilinear
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
before = peak()
pixels = load_image(sys.argv[1], ImageRules(10**9)).pixels_HWC
for resize in (bicubic, bilinear):
    assert resize(pixels, 700, 900).shape == (700, 900, 3)
print((peak() - before) / (pixels.shape[0] * pixels.shape[1] * 3))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="resource is not there")
@pytest.mark.parametrize(
    ("mode", "form"),
    [("RGB", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("L", "PNG"), ("RGB", "JPEG"), ("RGB", "TIFF")],
)
def test_a_huge_picture_costs_at_most_twice_its_pixels(mode, form, tmp_path):
    file = tmp_path / f"huge.{form.lower()}"
    Image.new(mode, (5000, 4000), 77 if mode in "PL" else (77,) * len(mode)).save(file, form)
    command = [sys.executable, "-c", PEAK, str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(run.stdout) < 2.0
