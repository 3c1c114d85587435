"""Requests on a page: texts are escaped, pictures are embedded and small, and what cannot be shown is said."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image as Pillow

from yoj.evaluation._shown_request import SIDE, shown_request
from yoj.runtime import Image, Message, Request, Video


def pictures(html: str) -> list[Pillow.Image]:
    return [
        Pillow.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r'src="data:image/(?:jpeg|png);base64,([^"]+)"', html)
    ]


def test_pictures_of_the_prompt_and_of_responses_are_embedded(tmp_path):
    file = tmp_path / "wide.png"
    Pillow.new("RGB", (900, 300), "red").save(file)
    content = io.BytesIO()
    Pillow.new("L", (20, 10), 128).save(content, "PNG")
    request = Request("What <b>is</b> it?", ["A & B", [Image(content.getvalue()), "so"]], images=[file])
    prompt, (first, second) = shown_request(request)
    (wide,) = pictures(prompt)
    assert wide.size == (SIDE, round(SIDE / 3))
    assert np.abs(np.asarray(wide).astype(int)[50, 50] - [255, 0, 0]).max() < 8
    assert "What &lt;b&gt;is&lt;/b&gt; it?" in prompt
    assert "A &amp; B" in first
    assert [one.size for one in pictures(second)] == [(20, 10)]


def test_frames_of_a_video_are_shown_in_part(tmp_path):
    for number in range(9):
        Pillow.new("RGB", (30, 20), (number * 20, 0, 0)).save(tmp_path / f"{number}.png")
    prompt, _ = shown_request(Request("What?", ["a"], video=tmp_path))
    assert len(pictures(prompt)) == 4
    assert "frame of 9 at 0 s" in prompt
    listed, _ = shown_request(Request([Video(sorted(tmp_path.iterdir())[:2]), "What?"], ["a"]))
    assert len(pictures(listed)) == 2
    file, _ = shown_request(Request("What?", ["a"], video=tmp_path / "film.mp4"))
    assert "not shown: video: " in file


def test_turns_have_their_roles():
    prompt, _ = shown_request(Request([Message("system", "Be strict."), Message("user", "Why?")], ["a"]))
    assert re.findall(r"<b>(\w+)</b>", prompt) == ["system", "user"]


@pytest.mark.parametrize("image", [b"no picture", "no/such/file.png"])
def test_a_picture_that_cannot_be_read_is_said(image):
    prompt, _ = shown_request(Request("What?", ["a"], images=[image]))
    assert "not shown: images[0]" in prompt
    assert not pictures(prompt)


def test_a_request_that_is_none_is_said():
    prompt, responses = shown_request(Request("What <image>?", ["a", "b"]))
    assert "The request cannot be shown" in prompt
    assert responses == ["", ""]
