"""Picture files that are programs, or made to be slow or large, are refused before they are decoded."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib

import media
import numpy as np
import pillow_heif
import pytest
from PIL import EpsImagePlugin, Image

from yoj.runtime import _formats as formats
from yoj.runtime import _heads as heads
from yoj.runtime.errors import LimitError, MediaError
from yoj.runtime.images import ImageRules, load_image
from yoj.runtime.video import Film, VideoRules, load_video

RULES = ImageRules(50_000_000)
EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 64 64
%%EndComments
1 0 0 setrgbcolor 0 0 32 32 rectfill
showpage
%%EOF
"""
DOS_EPS = b"\xc5\xd0\xd3\xc6" + struct.pack("<7IH", 32, len(EPS), 0, 0, 0, 0, 0, 0xFFFF)[:28] + EPS
PROGRAMS = {
    "eps": EPS,
    "eps of DOS": DOS_EPS,
    "eps behind a control character": b"\x04" + EPS,
    "eps behind white space": b"\n " + EPS,
    "ps": b"%!\n{ } loop\n",
    "pdf": b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<</Root 1 0 R>>\n%%EOF\n",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>",
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(18) + b"\1\0\t\0\0\3" + bytes(40),
    "emf": b"\1\0\0\0" + struct.pack("<I8i", 88, 0, 0, 9, 9, 0, 0, 99, 99) + b" EMF" + bytes(60),
    "fits": b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800),
    "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 4, 8, 3) + bytes(80),
    "text": b"hello, this is a text\n" * 20,
}


def refusal(source, error=MediaError, rules: ImageRules = RULES) -> str:
    with pytest.raises(error) as caught:
        load_image(source, rules, "images[0]")
    return str(caught.value)


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program that Pillow takes for Ghostscript, which leaves a file behind; the file."""
    ran, program = tmp_path / "ran", tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch '{ran}'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", str(program))
    return ran


def test_pillow_alone_runs_a_program_for_postscript(ghostscript):
    with pytest.raises(Exception, match="gs"):
        Image.open(io.BytesIO(EPS)).load()
    assert ghostscript.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.eps", "a.mp4", "a"])
@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_program_or_a_document_is_no_picture_under_any_name(kind, name, tmp_path, ghostscript):
    file = tmp_path / name
    file.write_bytes(PROGRAMS[kind])
    for source in (file, PROGRAMS[kind], io.BytesIO(PROGRAMS[kind])):
        assert "not an image" in refusal(source)
    for video in (file, PROGRAMS[kind], [str(file)]):
        with pytest.raises(MediaError):
            load_video(Film(video), VideoRules(4, RULES), lambda t: [0])
    assert not ghostscript.exists()


def test_postscript_that_a_caller_has_opened_is_not_decoded(ghostscript):
    assert "format EPS, which is not read" in refusal(Image.open(io.BytesIO(EPS)))
    assert not ghostscript.exists()


def test_postscript_inside_of_another_format_is_not_decoded(ghostscript):
    """Pillow's reader of IPTC opens what it finds inside, whatever it is."""
    fields = {(3, 60): b"\1\0", (3, 20): b"\0\x40", (3, 30): b"\0\x40", (3, 120): b"\5", (8, 10): EPS}
    content = b"".join(b"\x1c" + bytes(tag) + struct.pack(">H", len(value)) + value for tag, value in fields.items())
    assert "not an image" in refusal(content)
    assert not ghostscript.exists()


def other_formats() -> list[str]:
    Image.init()
    by_other_programs = {"BUFR", "GRIB", "HDF5", "WMF"}
    return sorted({*Image.SAVE} - {form.name for form in formats.PICTURES} - {"MPO", "DIB"} - by_other_programs)


@pytest.mark.slow
@pytest.mark.parametrize("form", other_formats())
def test_every_format_that_pillow_writes_and_that_is_not_listed_is_refused(form):
    for mode in ("RGB", "RGBA", "L", "P", "1", "F"):
        file = io.BytesIO()
        try:
            Image.fromarray(media.pixels()).convert(mode).save(file, form)
        except Exception:  # this format has not this mode
            continue
        assert "not an image" in refusal(file.getvalue())
        return
    pytest.fail(f"Pillow writes {form} of none of these modes")


@pytest.mark.slow
@pytest.mark.parametrize("form", [form.name for form in formats.PICTURES])
def test_every_listed_format_is_read(form):
    content = media.picture_cases()[form]
    picture = load_image(content, RULES)
    # Icons are made smaller and HEIC is not Pillow's; the others lose little where they lose at all.
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) if form == "ICO" else media.pixels()
    assert picture.pixels_HWC.shape == expected.shape
    assert np.abs(picture.pixels_HWC.astype(int) - expected).mean() < 12


def test_every_ending_of_pillow_is_that_of_its_format():
    known = Image.registered_extensions()
    for form in formats.PICTURES:
        assert all(known[ending] in (form.name, "MPO", "HEIF") for ending in form.endings if ending in known)


def test_noise_that_begins_like_a_tga_is_refused():
    targa = media.saved("TGA")
    assert load_image(targa, RULES).pixels_HWC.shape == (48, 64, 3)
    assert "not an image" in refusal(targa[:-26])


# Sizes that headers understate, and formats that need much memory


def test_an_icon_with_a_larger_picture_inside_is_refused_before_it_is_decoded():
    inside = media.saved("PNG")
    inside = inside[:16] + struct.pack(">II", 12000, 12000) + inside[24:]
    icon = struct.pack("<3H4B2H2I", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inside), 22) + inside
    assert "ICO of 12000x12000 = 144,000,000 pixels" in refusal(icon, LimitError)


def test_a_jpeg_2000_with_other_data_than_its_header_says_is_refused():
    content = media.saved("JPEG2000")
    place = content.index(b"\xff\x4f\xff\x51") + 8
    assert content[place : place + 8] == struct.pack(">II", 64, 48)
    wrong = content[:place] + struct.pack(">II", 30000, 30000) + content[place + 8 :]
    assert "64x48, and its data that they are 30000x30000" in refusal(wrong)


MEMORY = """
import re, sys
import PIL.Image, pillow_heif
from yoj.runtime import _pictures as pictures
from yoj.runtime.images import ImageRules, load_image
PIL.Image.init()
def peak():  # of this process alone; that of getrusage begins with its parent's
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
pixels = load_image(sys.argv[1], ImageRules(10**8)).pixels_HWC
print((peak() - before) / (pixels.shape[0] * pixels.shape[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(("form", "least"), [("WEBP", 8), ("JPEG2000", 8), ("AVIF", 4), ("HEIF", 4)])
def test_what_formats_of_their_own_memory_cost(form, least, tmp_path):
    """As `OWN_MEMORY_PIXELS` says, in bytes a pixel."""
    file = tmp_path / "picture"
    picture = Image.new("RGB", (2500, 2000), (1, 99, 200))
    if form == "HEIF":
        pillow_heif.from_pillow(picture).save(file, format="HEIF")
    else:
        picture.save(file, form)
    command = [sys.executable, "-c", MEMORY, str(file)]
    cost = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert least < cost < 20


@pytest.mark.parametrize("kind", ["VP8X", "VP8L", "VP8 "])
def test_a_huge_webp_is_refused_by_its_header(kind):
    head = {
        "VP8X": b"\0\0\0\0" + (9999).to_bytes(3, "little") * 2,
        "VP8L": b"\x2f" + ((9999) | (9999 << 14)).to_bytes(4, "little"),
        "VP8 ": b"\0\0\0\x9d\1\x2a" + struct.pack("<HH", 10000, 10000),
    }[kind]
    content = b"RIFF" + struct.pack("<I", 100) + b"WEBP" + kind.encode() + struct.pack("<I", 10) + head.ljust(80, b"\0")
    assert "WebP of 10000x10000" in refusal(content, LimitError, ImageRules(178_956_970))


def test_a_gif_whose_frame_is_larger_than_its_screen_is_refused():
    content = bytearray(media.saved("GIF"))
    content[6:10] = struct.pack("<HH", 1, 1)
    assert "is 64x48 = 3,072 pixels" in refusal(bytes(content), LimitError, ImageRules(1000))
    with pytest.raises(LimitError, match=r"64x48 = 3,072 pixels"):
        load_video(Film(bytes(content)), VideoRules(4, ImageRules(1000)), lambda t: [0])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["WEBP", "AVIF", "HEIF", "PNG", "JPEG"])
def test_a_file_far_larger_than_pictures_are_is_refused_before_it_is_read(form, tmp_path):
    file = tmp_path / "huge"
    file.write_bytes(media.picture_cases()[form])
    load_image(file, RULES)
    most = formats.PICTURE_BYTES if form in ("PNG", "JPEG") else formats.WHOLE_BYTES
    os.truncate(file, most + 1)  # takes no place on the disk
    assert f"has {most + 1:,} bytes; {most:,} are the limit" in refusal(file, LimitError)


# TIFF and JPEG


def tiff(tags: dict[int, tuple[int, int]], data: bytes = b"", pages: int = 1) -> bytes:
    """A TIFF of pages with the same tags -> (type, value) each."""
    out = bytearray(b"II*\0" + struct.pack("<I", 8 + len(data)) + data)
    for page in range(pages):
        out += struct.pack("<H", len(tags))
        out += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(tags.items()))
        out += struct.pack("<I", len(out) + 4 if page < pages - 1 else 0)
    return bytes(out)


def grey(width: int, height: int, **others: int) -> dict[int, tuple[int, int]]:
    given = {256: width, 257: height, 258: 8, 262: 1, 273: 8, 277: 1}
    return {tag: (4, value) for tag, value in (given | {int(k[1:]): v for k, v in others.items()}).items()}


@pytest.mark.slow
@pytest.mark.parametrize(("pages", "said"), [(3, "3 frames"), (200_000, "1000 frames or more")])
def test_pages_of_a_tiff_are_counted_to_a_bound(pages, said):
    assert f"is animated ({said})" in refusal(tiff(grey(1, 1, t259=1, t278=1, t279=1), b"\0", pages))


def test_pages_of_a_tiff_that_a_caller_has_opened_leave_it_at_its_page():
    image = Image.open(io.BytesIO(tiff(grey(1, 1, t259=1, t278=1, t279=1), b"\0", 5)))
    image.seek(2)
    assert "5 frames" in refusal(image)
    assert image.tell() == 2


@pytest.mark.parametrize("shape", ["strip", "tile"])
def test_a_tiff_with_a_huge_compressed_strip_is_refused_before_it_is_decoded(shape):
    data = zlib.compress(bytes(1000))
    if shape == "strip":
        tags = grey(16000, 11000, t258=16, t259=8, t278=11000, t279=len(data))
    else:
        tags = grey(64, 64, t258=16, t259=8, t322=16000, t323=11000, t324=8, t325=len(data))
        del tags[273]
    assert "352,000,000 bytes; 268,435,456 are the limit" in refusal(tiff(tags, data), LimitError, ImageRules(10**9))


def test_a_tiff_of_one_compressed_strip_of_usual_size_is_read():
    data = zlib.compress(bytes([77]) * 3_000_000)
    pixels = load_image(tiff(grey(2000, 1500, t259=8, t278=1500, t279=len(data)), data), RULES).pixels_HWC
    assert pixels.shape == (1500, 2000, 3)
    assert (pixels == 77).all()


@pytest.mark.parametrize("kind", ["letters", "odd depth", "packed bitmap"])
def test_large_pictures_of_slow_decoders_are_refused_and_small_ones_read(kind):
    def content(side: int) -> bytes:
        if kind == "packed bitmap":
            header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 64, 0, 0, 256, 0)
            rows = (bytes((side % 256 or 255, 7)) + b"\0\0") * (side if side < 100 else 1) + b"\0\1"
            return b"BM" + struct.pack("<IHHI", 1078 + len(rows), 0, 0, 1078) + header + bytes(range(256)) * 4 + rows
        if kind == "letters":
            return f"P3\n{side} {side}\n255\n".encode() + b"7 8 9\n" * (side * side if side < 100 else 9)
        return f"P6\n{side} {side}\n200\n".encode() + bytes((7, 8, 9)) * (side * side if side < 100 else 9)

    assert load_image(content(10), RULES).pixels_HWC.shape == (10, 10, 3)
    assert "slow to decode; 16,777,216 are the limit" in refusal(content(5000), LimitError)


def slow_jpeg(scans: int) -> bytes:
    """A progressive JPEG whose last scan is there many times."""
    content = media.saved("JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * scans + content[-2:]


def test_a_jpeg_of_thousands_of_scans_is_refused():
    assert f"more than {heads.MOST_SCANS} scans" in refusal(slow_jpeg(3000))
    assert load_image(slow_jpeg(3), RULES).pixels_HWC.shape == (48, 64, 3)


def test_scans_of_a_thumbnail_are_not_those_of_the_picture():
    content = slow_jpeg(0)
    thumbnail = b"\xff\xda\0\2" * 10000
    with_it = content[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + content[2:]
    np.testing.assert_array_equal(load_image(with_it, RULES).pixels_HWC, load_image(content, RULES).pixels_HWC)


@pytest.mark.parametrize("options", [{"progressive": True}, {"optimize": True}, {"progressive": True, "quality": 100}])
@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_what_programs_write_has_far_fewer_scans(options, mode):
    assert media.saved("JPEG", mode, **options).count(b"\xff\xda") <= heads.MOST_SCANS // 1.5
