"""Prompts of trainers in the form of requests: what tables and servers add is left out, and nothing else."""

from __future__ import annotations

import base64

import pytest
from PIL import Image

from yoj.integrations._chats import medium, turns
from yoj.runtime import RequestError

URL = "data:image/png;base64," + base64.b64encode(b"pixels").decode()
PICTURE = Image.new("RGB", (2, 2))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a.png", "a.png"),
        ("file:///a b.png", "/a b.png"),
        (b"pixels", b"pixels"),
        (PICTURE, PICTURE),
        (URL, b"pixels"),
        ({"bytes": None, "path": "a.png"}, "a.png"),
        ({"bytes": b"pixels", "path": "a.png"}, b"pixels"),
        ({"url": URL, "detail": "auto"}, b"pixels"),
    ],
)
def test_media_are_unwrapped(given, expected):
    assert medium(given) == expected


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"bytes": None, "path": None}, "A medium has the fields ['bytes', 'path']; give bytes, path or url."),
        ("data:image/png,abc", "A medium is 'data:image/png,abc'; a data URL must be in base64."),
        ("data:image/png;base64,a$b", "a data URL must be in base64."),
    ],
)
def test_media_that_cannot_be_unwrapped_are_refused(given, text):
    with pytest.raises(RequestError) as error:
        medium(given)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("a text", "a text"),
        ({"type": "text", "text": "Which?", "image": None}, {"type": "text", "text": "Which?"}),
        ({"type": "input_text", "text": "Which?"}, {"type": "text", "text": "Which?"}),
        ({"type": "image", "image": "a.png", "text": None}, {"type": "image", "image": "a.png"}),
        ({"type": "image", "path": "a.png"}, {"type": "image", "image": "a.png"}),
        ({"type": "image_url", "image_url": {"url": URL}}, {"type": "image", "image": b"pixels"}),
        ({"type": "input_image", "image_url": URL, "detail": "auto"}, {"type": "image", "image": b"pixels"}),
        ({"type": "video", "video": "a.mp4"}, {"type": "video", "video": "a.mp4"}),
        ({"type": "audio", "audio": "a.wav"}, {"type": "audio", "audio": "a.wav"}),  # the request refuses it
    ],
)
def test_parts_have_the_form_of_chat_templates(part, expected):
    assert turns([{"role": "user", "content": [part]}]) == [{"role": "user", "content": [expected]}]


def test_fields_of_other_rows_are_left_out_and_others_stay():
    given = [{"role": "user", "content": "Which?", "name": None}, {"role": "tool", "content": "3", "tool_call_id": "a"}]
    assert turns(given) == [{"role": "user", "content": "Which?"}, given[1]]


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        (["Which?"], "Turn 0 of the prompt is a str; give role and content."),
        ([{"role": "user", "content": [{"type": "image", "image": None}]}], "A part of the type image has the fields"),
    ],
)
def test_what_is_no_turn_is_refused(messages, text):
    with pytest.raises(RequestError) as error:
        turns(messages)
    assert text in str(error.value)
