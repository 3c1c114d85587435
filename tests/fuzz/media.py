"""Mutated pictures of every format and videos of every container that are read, prepared as a request's media.

    python tests/fuzz/media.py --count 5000 --seed 1

Each mutation ends in prepared media or in an error of ours, within a bound of CPU time; what else happens is printed,
and the exit status is 1.
"""

from __future__ import annotations

import argparse
import functools
import io
import random
import resource
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import av
import numpy as np
import pillow_heif
from mutate import Run, mutate_bytes, mutate_head
from PIL import Image

from yoj.runtime import Request, Scorer

BUNDLES = Path(__file__).parents[1] / "data" / "bundles"
BUNDLE = BUNDLES / "qwen3_vl-0.1"
BOUND_S = 30.0
CODECS = {
    "mov": ("mp4", "libx264"),
    "matroska": ("matroska", "libx264"),
    "avi": ("avi", "mpeg4"),
    "mpegts": ("mpegts", "mpeg2video"),
    "mpeg": ("mpeg", "mpeg2video"),
    "flv": ("flv", "flv"),
    "asf": ("asf", "msmpeg4"),
    "ogg": ("ogg", "libvpx"),
    "mxf": ("mxf", "mpeg2video"),
    "nut": ("nut", "mpeg4"),
}
"""Container that is read -> FFmpeg's writer and a codec that it takes."""


@functools.cache
def scorer(name: str) -> Scorer:
    return Scorer.load(BUNDLES / name)


def prepare(content: bytes, **given: Any) -> object:
    """By one of the families or the other."""
    of = scorer("molmo2-0.1" if sum(content[-4:]) % 2 else BUNDLE.name)
    return of.prepare(Request("What is shown?", ["A cat.", "A bus."], **given))


def pixels(number: int = 0) -> np.ndarray:
    """[48, 64, 3] uint8."""
    y, x = np.mgrid[:48, :64]
    return np.stack([y * 5, x * 4, (x + y + 30 * number) % 256], axis=2).astype(np.uint8)


def saved(form: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels()).convert(mode).save(file, form, **options)
    return file.getvalue()


def heic() -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels())).save(file, format="HEIF")
    return file.getvalue()


def picture_cases() -> dict[str, bytes]:
    """A picture of every format that is read, and of the ways to store it that other code reads."""
    return {
        "JPEG": saved("JPEG"),
        "JPEG, progressive": saved("JPEG", progressive=True),
        "JPEG, CMYK": saved("JPEG", "CMYK"),
        "PNG": saved("PNG"),
        "PNG, palette": saved("PNG", "P"),
        "PNG, 16 bits": saved("PNG", "I;16"),
        "WEBP": saved("WEBP"),
        "WEBP, lossless": saved("WEBP", "RGBA", lossless=True),
        "GIF": saved("GIF"),
        "BMP": saved("BMP"),
        "TIFF": saved("TIFF"),
        "TIFF, deflate": saved("TIFF", compression="tiff_adobe_deflate"),
        "TIFF, LZW": saved("TIFF", compression="tiff_lzw"),
        "TIFF, JPEG": saved("TIFF", compression="jpeg"),
        "AVIF": saved("AVIF"),
        "HEIF": heic(),
        "JPEG2000": saved("JPEG2000"),
        "PPM": saved("PPM"),
        "ICO": saved("ICO"),
        "ICO, bitmap": saved("ICO", bitmap_format="bmp"),
        "TGA": saved("TGA"),
        "TGA, packed": saved("TGA", compression="tga_rle"),
    }


def movie(form: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream: Any = container.add_stream(codec, 25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels(number), format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def video_cases() -> dict[str, bytes]:
    """A video of every container, and an animation of every format, that is read."""
    frames = [Image.fromarray(pixels(number)) for number in range(4)]
    animations: dict[str, bytes] = {}
    for form in ("GIF", "WEBP", "PNG", "AVIF"):
        file = io.BytesIO()
        frames[0].save(file, form, save_all=True, append_images=frames[1:], duration=100)
        animations[form] = file.getvalue()
    return {name: movie(*how) for name, how in CODECS.items()} | animations


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Half of the changes among the first bytes."""
    return rng.choice((mutate_bytes, mutate_head))(content, rng)


def prepare_picture(case: str, content: bytes) -> object:
    return prepare(content, images=[content])


def prepare_video(case: str, content: bytes) -> object:
    """As bytes, and from a file, whose ending says what it was."""
    if len(content) % 2:
        return prepare(content, video=content)
    with tempfile.NamedTemporaryFile(suffix=f".{case.lower()}") as file:
        file.write(content)
        file.flush()
        return prepare(content, video=file.name)


def pictures() -> Run:
    return Run(picture_cases(), mutate, prepare_picture, BOUND_S)


def videos() -> Run:
    return Run(video_cases(), mutate, prepare_video, BOUND_S)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--count", type=int, default=5000, help="mutations, half of pictures and half of videos [%(default)s]"
    )
    parser.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    parser.add_argument("--first", type=int, default=0, help="number of the first, to repeat a fault [%(default)s]")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow warns of much in damaged files
    found = 0
    for name, run in (("pictures", pictures()), ("videos", videos())):
        report = run.report(given.seed, given.count // 2, given.first)
        print(f"{name}: {report}", flush=True)
        found += len(report.faults)
    print(f"peak of the memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
