"""Language path of a bundle: how the model was asked for rationales, and which tokens end them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from yoj.runtime.manifest import LanguagePath, Layout, Piece

from .._errors import CheckpointError
from ..checkpoint._text_files import read_json
from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.head import SETTINGS

MAX_TOKENS = 256
"""Most tokens of a rationale unless a caller says otherwise."""


def language_path(checkpoint: Checkpoint, layout: Layout) -> LanguagePath:
    """Language path of a checkpoint.

    Raises:
        CheckpointError: the layout has no place for a rationale, nothing says how the model was asked for one, or
            nothing would end it.
    """
    if layout.name == "user":
        raise CheckpointError(
            "--language is for --layout assistant: in the layout user what the model writes would stand in the user's "
            "turn. Leave --language out."
        )
    if layout.text_glue is None:
        raise CheckpointError(
            "--language needs a chat template that shows several texts in one turn, and that of this checkpoint is not "
            "known to. Leave --language out, or use the model's released template."
        )
    prompt = checkpoint.training.rationale_prompt
    if prompt is None:
        raise CheckpointError(
            f"{checkpoint.folders[-1] / SETTINGS} does not say rationale_prompt, the text that asked for rationales in "
            "training. Give it with --language-prompt, or leave --language out."
        )
    stop = tuple(sorted({*_closing(checkpoint, layout), *_stated(checkpoint)}))
    if not stop:
        raise CheckpointError(
            f"{checkpoint.folders[-1]}: neither the chat template nor tokenizer_config.json nor generation_config.json "
            "says which token ends an answer (eos_token). Copy these files from the model that was trained."
        )
    return LanguagePath(prompt=prompt, max_tokens=MAX_TOKENS, stop=stop)


def with_end(layout: Layout, checkpoint: Checkpoint) -> Layout:
    """Layout in which a text that is learnt ends with a token, so that the model learns to stop.

    Where the chat template closes the assistant's turn with no token, that is the token that ends a text by the
    settings of the tokenizer or of generation; without one the layout stays as it is.
    """
    ends = next(_stated(checkpoint), None)
    name = None if ends is None else checkpoint.tokenizer.id_to_token(ends)
    if name is None or any(True for _ in _closing(checkpoint, layout)):
        return layout
    token = Piece(kind="token", value=name)
    turns = {
        kind: msgspec.structs.replace(getattr(layout, kind), after=(token, *getattr(layout, kind).after))
        for kind in ("text_only", "with_media")
    }
    return msgspec.structs.replace(layout, **turns)


def _closing(checkpoint: Checkpoint, layout: Layout) -> Iterator[int]:
    """Tokens that close the assistant's turn."""
    for turns in (layout.text_only, layout.with_media):
        if turns.after and turns.after[0].kind == "token":
            found = checkpoint.tokenizer.token_to_id(turns.after[0].value)
            assert found is not None, "pieces of a layout are tokens of its tokenizer"
            yield found


def _stated(checkpoint: Checkpoint) -> Iterator[int]:
    """Tokens that end a text by the settings of the tokenizer and of generation."""
    tokenizer: Any = _settings(checkpoint, "tokenizer_config.json").get("eos_token")
    token = tokenizer.get("content") if isinstance(tokenizer, dict) else tokenizer
    if isinstance(token, str) and (found := checkpoint.tokenizer.token_to_id(token)) is not None:
        yield found
    ids: Any = _settings(checkpoint, "generation_config.json").get("eos_token_id")
    yield from (number for number in (ids if isinstance(ids, list) else [ids]) if isinstance(number, int))


def _settings(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """Settings of the last adapter or else of the base; none where neither has the file."""
    for folder in (checkpoint.folders[-1], checkpoint.trunk):
        if (folder / name).is_file():
            return read_json(folder / name)
    return {}
