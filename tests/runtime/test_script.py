"""Requests in all their forms."""

from __future__ import annotations

import numpy as np
import pytest

from yoj.runtime import Image, LimitError, Message, Request, RequestError, Video
from yoj.runtime.manifest import Limits
from yoj.runtime.script import Turn, check_limits, script_of

A, B, C = b"a", b"b", b"c"
LIMITS = Limits(L=100, N=4, images=2, pixels=10**6, frames=8, images_with_video=True)
ASSISTANT = {"role": "assistant", "content": "It is."}


def turns(prompt, **more) -> list[Turn]:
    return list(script_of(Request(prompt, ["yes"], **more)).turns)


def refusal(*given, **more) -> str:
    with pytest.raises(RequestError) as error:
        script_of(Request(*given, **more))
    return str(error.value)


def test_media_of_the_short_form_stand_before_the_text():
    script = script_of(Request("Which?", ["a", "b"], images=[A, B], video=C, fps=2.0))
    assert script.turns == (Turn("user", (0, 1, 2, "Which?")),)
    assert script.media == (Image(A), Image(B), Video(C, 2.0))
    assert script.names == ("images[0]", "images[1]", "video")
    assert script.videos == {2}
    assert script.owners == (0, 0, 0)


def test_parts_stand_where_they_are_written():
    script = script_of(Request(["Make ", Image(A), " red"], ["no", [Image(B), "so"], Image(C)]))
    assert script.turns == (Turn("user", ("Make ", 0, " red")),)
    assert script.responses == (("no",), (1, "so"), (2,))
    assert script.owners == (0, 2, 3)
    assert script.names == ("prompt[1]", "responses[1][0]", "responses[2]")


def test_a_conversation_may_be_messages_or_objects():
    told = [{"role": "system", "content": "Be strict."}, Message("user", ["Is it ", Image(A), "?"])]
    assert turns(told) == [Turn("system", ("Be strict.",)), Turn("user", ("Is it ", 0, "?"))]


def test_parts_may_be_objects_as_chat_templates_take_them():
    parts = [{"type": "text", "text": "Is it "}, {"type": "image", "image": A}, {"type": "video", "video": C, "fps": 2}]
    script = script_of(Request([{"role": "user", "content": parts}], ["yes"]))
    assert script.turns[0].parts == ("Is it ", 0, 1)
    assert script.media == (Image(A), Video(C, 2))


def test_media_of_the_short_form_stand_in_the_first_user_turn_of_a_conversation():
    told = [{"role": "user", "content": "So?"}, ASSISTANT, {"role": "user", "content": "Why?"}]
    assert [turn.parts for turn in turns(told, images=[A])] == [(0, "So?"), ("It is.",), ("Why?",)]


def test_places_without_a_medium_take_those_of_the_short_form():
    told = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "So?"}, Image()]}]
    script = script_of(Request(told, ["yes"], images=[A, B]))
    assert script.turns[0].parts == (0, "So?", 1)
    assert script.media == (Image(A), Image(B))
    assert "places for 2 images and 0 videos, but 1 images and 0 videos are given" in refusal(told, ["a"], images=[A])
    assert "Image() without a source" in refusal("Why?", [[Image()]])


def test_responses_may_be_any_sequence_but_not_what_has_no_order():
    for responses in (("a", "b"), np.array(["a", "b"]), np.array(["a", "b"], object), ["a", "b"]):
        assert script_of(Request("Why?", responses)).responses == (("a",), ("b",))
    assert type(script_of(Request("Why?", np.array(["a"]))).responses[0][0]) is str
    for wrong in ("ab", {"a", "b"}, {"a": 1}, iter(["a"]), b"ab", 3):
        assert "responses is a" in refusal("Why?", wrong)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((3, ["a"]), "prompt is a int; give a text"),
        (("Why?", ["a", 3]), "responses[1] is a int"),
        (("Why?", ["a", ["b", 3]]), "responses[1][1] is a int; give a text, yoj.runtime.Image(...) or Video(...)"),
        (("Why?", []), "no responses"),
        (([], ["a"]), "prompt is an empty list"),
        (("Why?", np.array("a")), "responses is a ndarray without items"),
        ((["Why?", {"type": "audio"}], ["a"]), "the type 'audio'"),
        ((["Why?", {"type": "image", "url": "x"}], ["a"]), "the field 'url'"),
        (([{"role": "user", "content": "So?"}, ASSISTANT], ["a"]), "end it with the user's turn"),
        (([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], ["a"]), "in turn. Join neighbouring"),
        (([ASSISTANT, {"role": "user", "content": "b"}], ["a"]), "in turn"),
        (([{"role": "tool", "content": "b"}], ["a"]), "the role 'tool'; give system, user, assistant"),
        (([{"role": "user", "content": "b", "name": "x"}], ["a"]), "role and content and nothing else"),
        (([{"role": "user", "content": "b"}, "c"], ["a"]), "prompt[1] has a str"),
        (("a\ud800", ["a"]), "prompt holds a lone surrogate U+D800"),
        (("a", [["b", "\ud800"]]), "responses[0][1] holds a lone surrogate"),
    ],
)
def test_what_is_no_request_is_refused_by_name(given, said):
    assert said in refusal(*given)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"overflow": "cut"}, "overflow is 'cut'; give 'error' or 'truncate'"),
        ({"duplicates": "no"}, "duplicates is 'no'; give 'share' or 'score'"),
        ({"placeholders": "no"}, "placeholders is 'no'; give 'error' or 'media' or 'text'"),
        ({"fps": 2.0}, "fps is given without a video"),
        ({"timestamps": [0.0]}, "timestamps is given without a video"),
        ({"images": "photo.png"}, "images is a str; give a list of images"),
    ],
)
def test_options_are_checked(more, said):
    assert said in refusal("Why?", ["a"], **more)


# Placeholders of other frameworks


@pytest.mark.parametrize(
    "marker",
    [
        "<image>", "<IMAGE>", "<|image|>", "<|image_pad|>", "<|vision_start|><|image_pad|><|vision_end|>", "<image_1>",
        "<|image_1|>", "<img>", "<ImageHere>", "<start_of_image>", "[IMG]", "<image_placeholder>",
        "<image 1>", "<image/>",
        "<images>", "<image-1>", "<image_soft_token>", "<IMG_CONTEXT>", "<im_patch>", "<|media_pad|>",
        "[IMAGE]", "<frame_1>",
    ],
)  # fmt: skip
def test_a_placeholder_is_the_place_of_the_image_a_text_or_an_error_but_never_silent(marker):
    prompt = f"Look: {marker}\nWhich?"
    said = refusal(prompt, ["a"], images=[A])
    assert marker in said
    assert "placeholders='media'" in said
    assert turns(prompt, images=[A], placeholders="media") == [Turn("user", ("Look: ", 0, "\nWhich?"))]
    script = script_of(Request(prompt, ["a"], images=[A], placeholders="text"))
    assert script.turns == (Turn("user", (0, prompt)),)
    assert script.notices == (f"the prompt holds {marker}, read as plain text",)


def test_placeholders_are_counted_against_what_is_given():
    for count in (0, 2):
        said = refusal("<image>\nWhich?", ["a"], images=[A] * count, placeholders="media")
        assert f"places for 1 images and 0 videos, but {count} images and 0 videos are given" in said
    assert turns("<video><image>?", images=[A], video=B, placeholders="media")[0].parts == (0, 1, "?")


def test_placeholders_in_responses_are_text():
    assert script_of(Request("Why?", ["<image>"])).responses == (("<image>",),)


# Limits


@pytest.mark.parametrize(
    ("request_", "limits", "said"),
    [
        (Request("?", ["a"] * 5), LIMITS, "N=5 responses; the limit of this bundle is 4"),
        (Request("?", ["a"], images=[A] * 3), LIMITS, "The request has 3 images; the limit of this bundle is 2"),
        (Request("?", ["a", [Image(A)] * 3]), LIMITS, "responses[1] has 3 images"),
        (
            Request("?", ["a"], video=A),
            Limits(L=9, N=4, images=2, pixels=9, frames=0, images_with_video=False),
            "no video",
        ),
        (
            Request("?", [[Image(A)]], video=A),
            Limits(L=9, N=4, images=2, pixels=9, frames=2, images_with_video=False),
            "images or a video, not both",
        ),
        (
            Request([Video(A), Video(B)], ["a"]),
            Limits(L=9, N=4, images=2, pixels=9, frames=2, images_with_video=False),
            "has 2 videos; the model takes one",
        ),
    ],
)
def test_what_is_over_a_limit_is_refused_with_both_numbers(request_, limits, said):
    with pytest.raises(LimitError) as error:
        check_limits(script_of(request_), limits)
    assert said in str(error.value)


def test_each_response_may_have_as_many_images_as_the_prompt():
    check_limits(script_of(Request(["?", *[Image(A)] * 2], [[Image(A)] * 2] * 4)), LIMITS)


def test_a_source_and_as_many_edits_as_responses_are_one_request():
    check_limits(script_of(Request(["Make it red", Image(A)], [[Image(A)]] * LIMITS.N)), LIMITS)
    assert LIMITS.images < 1 + LIMITS.N


def test_what_the_judge_was_hardly_trained_on_is_said():
    told = [{"role": "system", "content": "Be strict."}, {"role": "user", "content": "b"}]
    assert "conversation of 2 turns" in script_of(Request(told, ["a"])).notices[0]
    assert script_of(Request("?", ["a"], images=[A])).notices == ()
