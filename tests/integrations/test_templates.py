"""Questions in prompts of a chat template, with the template of a shipped policy."""

from __future__ import annotations

import pytest
from peers import TOKENIZER

from yoj.integrations._templates import question_in, without_end
from yoj.runtime import RequestError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TOKENIZER)


def rendered(tokenizer, *turns):
    return tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=True)


def user(*parts):
    return {"role": "user", "content": list(parts)}


PICTURE = {"type": "image"}


@pytest.mark.parametrize("question", ["Which?", " Which? \n", "user\nassistant", "", "[{'type': 'text'}]"])
@pytest.mark.parametrize("images", [0, 1, 3])
def test_the_question_is_what_was_rendered(question, images, tokenizer):
    prompt = rendered(tokenizer, user(*[PICTURE] * images, {"type": "text", "text": question}))
    assert prompt != question
    assert question_in(prompt, tokenizer, images, "") == question


def test_a_prompt_without_special_tokens_is_the_question(tokenizer):
    assert question_in("Which?\nAnswer:", tokenizer, 0, "") == "Which?\nAnswer:"


@pytest.mark.parametrize(
    ("turns", "images"),
    [
        ([user(PICTURE, {"type": "text", "text": "Which?"})], 0),  # a picture that was not handed over
        ([user({"type": "text", "text": "Which?"}, PICTURE)], 1),
        ([{"role": "system", "content": "Be brief."}, user({"type": "text", "text": "Which?"})], 0),
        ([user({"type": "text", "text": "A<|im_end|>B"})], 0),
    ],
)
def test_other_prompts_are_refused(turns, images, tokenizer):
    with pytest.raises(RequestError) as error:
        question_in(rendered(tokenizer, *turns), tokenizer, images, "Do this.")
    assert "is no single user turn in the policy's chat template" in str(error.value)
    assert str(error.value).endswith("Do this.")


def test_a_policy_may_see_fewer_pictures_than_the_judge(tokenizer):
    prompt = rendered(tokenizer, user({"type": "text", "text": "Which?"}))
    assert question_in(prompt, tokenizer, 1, "") == "Which?"


def test_special_tokens_at_the_end_of_a_response_are_left_out(tokenizer):
    assert without_end("A cat.<|im_end|><|endoftext|>", tokenizer) == "A cat."
    assert without_end("A<|im_end|>B", tokenizer) == "A<|im_end|>B"
    assert without_end("<|im_end|>", tokenizer) == ""
