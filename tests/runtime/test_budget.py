"""All media of a request share one budget of pixels, bytes and seconds, and the error says which part is spent."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import media
import numpy as np
import pytest
from PIL import Image as Pillow

from yoj.export.families._base import MAX_PIXELS
from yoj.runtime import Image, Request, Video
from yoj.runtime import _animation as animation
from yoj.runtime import _budget as budget
from yoj.runtime import _formats as formats
from yoj.runtime import _heads as heads
from yoj.runtime._budget import Budget, Spending
from yoj.runtime._clip import stack
from yoj.runtime.bundle import Bundle
from yoj.runtime.errors import LimitError
from yoj.runtime.images import ImageRules, load_image
from yoj.runtime.prepare import Preparer, packing_config
from yoj.runtime.text import TextEncoder
from yoj.runtime.video import Film, VideoRules, load_video

PIXELS = 64 * 48


def preparer(given: Budget) -> Preparer:
    rules = packing_config(Bundle.open(media.BUNDLE).manifest)
    return Preparer(replace(rules, budget=given), TextEncoder.open(media.BUNDLE / "tokenizer.json"))


def refusal(given: Budget, request: Request) -> str:
    with pytest.raises(LimitError) as caught:
        preparer(given).prepare(request)
    return str(caught.value)


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Pillow.new("RGB", (64, 48), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


def of_each_kind() -> Request:
    """Four pictures and frames in all, in prompt and responses."""
    return Request([Image(png(1)), "Which is red?"], [[Image(png(2))], [Image(np.zeros((48, 64, 3), np.uint8))]])


def test_pixels_of_prompt_and_responses_count_together():
    assert preparer(Budget(pixels=3 * PIXELS)).prepare(of_each_kind()).media
    text = refusal(Budget(pixels=3 * PIXELS - 1), of_each_kind())
    assert "9,216; their budget is 9,215 pixels" in text
    assert "Give fewer or smaller" in text


def test_bytes_of_prompt_and_responses_count_together():
    size = len(png(1)) + len(png(2))
    assert preparer(Budget(bytes=size)).prepare(of_each_kind()).media
    assert f"{size}; their budget is {size - 1} bytes" in refusal(Budget(bytes=size - 1), of_each_kind())


def test_a_request_has_a_budget_of_its_own():
    one = preparer(Budget(pixels=3 * PIXELS))
    for _ in range(3):
        one.prepare(of_each_kind())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["picture", "mov", "mpegts", "GIF", "frames"])
def test_seconds_are_over(kind):
    given = {
        "picture": Image(png(1)),
        "frames": Video([png(1), png(2)]),
        **{name: Video(content) for name, content in media.video_cases().items()},
    }[kind]
    assert preparer(Budget()).prepare(Request([given, "Which?"], ["a", "b"])).media
    assert "not decoded within -1 seconds" in refusal(Budget(seconds=-1), Request([given, "Which?"], ["a", "b"]))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "PPM", "BMP", "TGA", *media.CODECS])
def test_the_end_of_the_time_ends_a_decoding_that_has_begun(form, monkeypatch):
    """Each look at the clock is a second; a file that needs many reads is not read to its end."""
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    file = io.BytesIO()
    if form in media.CODECS:
        file.write(media.movie(*media.CODECS[form]))
    else:
        Pillow.fromarray(noise).save(file, form)
    looks: list[int] = []
    monkeypatch.setattr(budget.time, "monotonic", lambda: looks.append(1) or len(looks))

    def load(seconds: float) -> object:
        rules = ImageRules(10**7, spending=Spending(Budget(seconds=seconds)))
        if form in media.CODECS:
            return load_video(Film(file.getvalue()), VideoRules(4, rules), lambda t: list(range(t.frames)))
        return load_image(file.getvalue(), rules)

    load(10**6)
    needed = len(looks)
    looks.clear()
    assert needed > 8
    with pytest.raises(LimitError, match="not decoded within"):
        load(needed - 3)
    assert len(looks) <= needed


def test_frames_that_will_not_fit_are_refused_after_the_first():
    opened: list[int] = []

    class Counted(io.BytesIO):
        def read(self, *size):
            opened.append(1)
            return super().read(*size)

    frames = [Counted(png(number)) for number in range(4)]
    rules = ImageRules(10**7, spending=Spending(Budget(pixels=4 * PIXELS - 1)))
    with pytest.raises(LimitError, match=r"from frame 0 on: with its 9,216 pixels .* 12,288"):
        load_video(Film(frames), VideoRules(4, rules), lambda t: [])
    assert len(opened) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mov", "GIF", "AVIF"])
def test_frames_of_a_file_that_will_not_fit_are_refused_before_the_first(name):
    rules = ImageRules(10**7, spending=Spending(Budget(pixels=4 * PIXELS - 1)))
    with pytest.raises(LimitError, match=r"with its 12,288 pixels"):
        load_video(Film(media.video_cases()[name]), VideoRules(4, rules), lambda t: list(range(t.frames)))


def test_the_defaults_let_honest_media_pass_and_not_sixteen_of_the_largest_pictures():
    spending = Spending()
    for number in range(16):
        spending.take_pixels(50_000_000, f"images[{number}]")  # telephones have up to 50 megapixels
    Spending().take_bytes(300 * 100_000_000 // 8, "five minutes of 4K at 100 megabits a second")
    Spending().foresee_pixels(16 * 3840 * 2160, "its frames")
    with pytest.raises(LimitError, match=r"budget is 1,000,000,000 pixels"):
        Spending().foresee_pixels(16 * 178_956_970, "images")


def test_frames_are_stacked_without_being_held_twice():
    frames = [np.full((4, 5, 3), number, np.uint8) for number in range(7)]
    expected = np.stack(frames)
    np.testing.assert_array_equal(stack(frames), expected)
    assert not frames


# The documentation

REQUESTS = Path(__file__).parents[2] / "docs" / "requests.md"


def rows(heading: str) -> list[list[str]]:
    """Cells of the table that begins with this heading."""
    lines = REQUESTS.read_text("utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading}"))
    table = lines[begin + 2 :]
    end = next(number for number, line in enumerate(table) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[:end]]


def number_in(text: str) -> int | None:
    found = re.search(r"[\d,]{2,}", text)
    return int(found[0].replace(",", "")) if found else None


def test_the_table_of_pictures_is_the_list():
    told = {name: largest for names, largest in rows("pictures") for name in names.split(", ")}
    assert told.keys() == {form.said for form in formats.PICTURES}
    for form in formats.PICTURES:
        own = number_in(told[form.said]) if "bundle" not in told[form.said] else None
        assert own == form.pixels, form.said
    assert any(f"limit ({MAX_PIXELS:,} by default)" in largest for largest in told.values())


def test_the_table_of_containers_is_the_list():
    assert {reader.strip("`"): name for name, reader in rows("containers of videos")} == formats.CONTAINERS


def test_the_table_of_the_budget_holds_the_defaults():
    told = {name: number_in(default) for name, default, _ in rows("budget of a request")}
    assert told == {"pixels": Budget.pixels, "bytes": Budget.bytes, "seconds": Budget.seconds}


def test_the_other_bounds_that_the_text_names():
    text = " ".join(REQUESTS.read_text("utf-8").split())
    for bound in (
        heads.STRIP_BYTES,
        heads.MOST_SCANS,
        heads.SLOW_PIXELS,
        formats.PICTURE_BYTES,
        formats.WHOLE_BYTES,
        animation.DECODED_PIXELS,
    ):
        assert re.search(rf"up to {bound:,}\b", text)
    said = {form.name: form.said for form in formats.PICTURES}
    *most, last = (said[name] for name in formats.ANIMATIONS)
    assert f"As animations, {', '.join(most)} and {last} are read" in text
