"""Responses in the decoded conversations of OpenRLHF."""

from __future__ import annotations

import pytest

from yoj.runtime.errors import RequestError
from yoj.serving._group_forms import response_of

PROMPT = "<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    "end", ["", "<|im_end|>", "<|im_end|>\n", "<|im_end|><|endoftext|>", "</s>", "<end_of_turn>\n", "<|eot_id|>"]
)
@pytest.mark.parametrize("text", ["A cat.", "", " Blank ", "a <|im_end|> b", "a < b"])
def test_the_end_is_cut_off_and_nothing_else(text, end):
    expected = text.rstrip() if end else text
    assert response_of(PROMPT + text + end, PROMPT).rstrip() == expected.rstrip()
    if not end:
        assert response_of(PROMPT + text, PROMPT) == text


def test_the_tokens_of_a_picture_are_one_in_the_prompt():
    picture = "<|vision_start|><|image_pad|><|vision_end|>"
    prompt = PROMPT.replace("Which?", picture + "Which?" + picture)
    query = prompt.replace("<|image_pad|>", "<|image_pad|>" * 64) + "A cat.<|im_end|>"
    assert response_of(query, prompt) == "A cat."


def test_a_prompt_that_was_cut_is_an_error():
    with pytest.raises(RequestError, match="The query does not begin with the prompt"):
        response_of(PROMPT[10:] + "A cat.", PROMPT)
