"""Questions in prompts that a trainer has written in the policy's chat template; the judge has one of its own."""

from __future__ import annotations

from typing import Any

from yoj.runtime import RequestError
from yoj.runtime.error_texts import shorten

QUESTION = "\u2045question\u2046"
"""Text that stands for the question while the template is rendered."""


def question_in(prompt: str, tokenizer: Any, images: int, mend: str) -> str:
    """Text of the one user turn of a rendered prompt, or the prompt itself where no template was used.

    The template is rendered with a text in the place of the question: what then stands before and behind it must be
    what stands there in the prompt, to the character. Nothing is guessed of other prompts.

    Args:
        prompt: prompt of the policy.
        tokenizer: tokenizer or processor of the policy, with its chat template.
        images: number of images of the prompt, which stand before the question.
        mend: advice where the question cannot be found, for the error.

    Raises:
        RequestError: the prompt holds special tokens, and is not one user turn in the template.
    """
    special = _special_tokens(tokenizer)
    if not any(token in prompt for token in special):
        return prompt
    parts = [{"type": "image"}] * images + [{"type": "text", "text": QUESTION}]
    for content in (parts, QUESTION) if images else (QUESTION, parts):
        if (around := _around(tokenizer, content)) is None:
            continue
        before, behind = around
        question = prompt[len(before) : len(prompt) - len(behind)]
        if prompt == before + question + behind and not any(token in question for token in special):
            return question
    raise RequestError(
        f"The prompt {shorten(prompt, 200)!r} is no single user turn in the policy's chat template, so that the "
        f"question in it is not known. {mend}"
    )


def without_end(response: str, tokenizer: Any) -> str:
    """Response without the special tokens at its end, with which the policy stopped; the judge would read them as text.

    Args:
        response: response as it was generated.
        tokenizer: tokenizer or processor of the policy.
    """
    special = _special_tokens(tokenizer)
    while end := next((token for token in special if response.endswith(token)), ""):
        response = response.removesuffix(end)
    return response


def _special_tokens(tokenizer: Any) -> list[str]:
    added = getattr(tokenizer, "tokenizer", tokenizer).added_tokens_decoder
    return [str(token) for token in added.values() if token.special]


def _around(tokenizer: Any, content: Any) -> tuple[str, str] | None:
    """Text that the template writes before and behind the question; None where it takes no such content."""
    try:
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
    except Exception:  # templates raise what they like, for content of a kind that they do not know
        return None
    before, found, behind = rendered.partition(QUESTION)
    return (before, behind) if found else None
