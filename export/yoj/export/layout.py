"""The checkpoint's chat template, rendered once, as literal pieces that the runtime only has to join."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import AutoTokenizer

from yoj.runtime.manifest import Layout, LayoutName, Piece

from .checkpoint import SEPARATOR, Checkpoint
from .errors import CheckpointError
from .files import read_json

GLUE = "\n\n"
"""Text on either side of the separator (mr2rm/data/dataset.py of the reference)."""
# White space around the marks shows whether a template strips what it is given.
PROMPT = "\n \ue000 \n"
RESPONSES = "\n \ue001 \n"


@dataclass(frozen=True)
class MediaMarkup:
    """How a family's chat template shows images and videos."""

    image_token: str
    """The special token that the processor replaces by the tokens of one image."""
    video_token: str
    one_image: tuple[Piece, ...]
    each_image: tuple[Piece, ...]
    video: tuple[Piece, ...]
    packed_video: tuple[Piece, ...]
    """What remains of ``video`` once the processor replaced what it replaces."""
    both: bool
    """Whether the template shows images and a video of one request."""
    bos: str | None
    """Token that the processor puts before every rendered text; None where it puts none."""


class ChatTemplate:
    """The chat template of a checkpoint, rendered by transformers."""

    def __init__(self, checkpoint: Checkpoint):
        folder = checkpoint.file("tokenizer.json").parent
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.file, self._template = _read_template(checkpoint)

    def render(self, layout: LayoutName, prompt: str, responses: str, images: int, videos: int = 0) -> str:
        """The text of one pack without BOS; each image or video is its placeholder token."""
        said = prompt if layout == "assistant" else prompt + GLUE + responses
        media = [{"type": "image"}] * images + [{"type": "video"}] * videos
        user = [*media, {"type": "text", "text": said}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": user}]
        if layout == "assistant":
            messages.append({"role": "assistant", "content": [{"type": "text", "text": responses}]})
        try:
            return self.tokenizer.apply_chat_template(messages, chat_template=self._template, tokenize=False)
        except TemplateError as error:
            raise CheckpointError(
                f"{self.file}: the chat template cannot show {images} images in the {layout} layout: {error}. "
                "Use the model's released template."
            ) from error


def render_layout(checkpoint: Checkpoint, layout: LayoutName, markup: MediaMarkup) -> Layout:
    """Render the chat template with marks in place of the texts and split the result at the special tokens.

    Raises:
        CheckpointError: the template changes the texts that it is given, or shows media in an unknown way.
    """
    template = ChatTemplate(checkpoint)
    special = [t.content for t in checkpoint.tokenizer.get_added_tokens_decoder().values() if t.special]

    def pieces(images: int, videos: int = 0) -> tuple[Piece, ...]:
        text = template.render(layout, PROMPT, RESPONSES, images, videos)
        _check_marks(text, layout, template)
        # The reference tokenises a text-only pack of the assistant layout without its processor, so without BOS.
        bare = layout == "assistant" and not images and not videos
        bos = "" if bare or markup.bos is None or text.startswith(markup.bos) else markup.bos
        return split_pieces(bos + text, special, (markup.image_token, markup.video_token))

    with_media = _replace_once(pieces(1), markup.one_image, template.file)
    for images, videos in [(2, 0), (3, 0), (11, 0), (0, 1), *([(1, 1), (2, 1)] if markup.both else [])]:
        if pieces(images, videos) != _join(with_media, markup, images, videos):
            raise CheckpointError(
                f"{template.file}: the chat template shows {images} images and {videos} videos in a way that "
                f"this version does not know: {template.render(layout, 'PROMPT', 'RESPONSES', images, videos)!r}. "
                "Use the model's released template."
            )
    return Layout(
        name=layout,
        separator=SEPARATOR,
        separator_id=checkpoint.separator_id,
        glue=GLUE,
        text_only=pieces(0),
        with_media=with_media,
        one_image=markup.one_image,
        each_image=markup.each_image,
        video=markup.packed_video,
    )


def split_pieces(text: str, special: Sequence[str], media: Sequence[str]) -> tuple[Piece, ...]:
    """Split a rendered text at its special tokens, the tokens of media, and the marks of prompt and responses."""
    marks = {PROMPT: Piece(kind="prompt"), RESPONSES: Piece(kind="responses")}
    marks |= {token: Piece(kind="medium") for token in media}
    marks |= {token: Piece(kind="token", value=token) for token in special if token not in marks}
    longest_first = sorted(marks, key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text)
    return _merge(marks.get(part, Piece(kind="text", value=part)) for part in parts if part)


def _merge(pieces: Any) -> tuple[Piece, ...]:
    """Join neighbouring texts."""
    merged: list[Piece] = []
    for piece in pieces:
        if piece.kind == "text" and merged and merged[-1].kind == "text":
            piece = Piece(kind="text", value=merged.pop().value + piece.value)
        merged.append(piece)
    return tuple(merged)


def _replace_once(pieces: tuple[Piece, ...], image: tuple[Piece, ...], file: Path) -> tuple[Piece, ...]:
    places = [i for i in range(len(pieces)) if pieces[i : i + len(image)] == image]
    if len(places) != 1:
        raise CheckpointError(
            f"{file}: the chat template shows one image {len(places)} times. Use the model's released template."
        )
    return (*pieces[: places[0]], Piece(kind="media"), *pieces[places[0] + len(image) :])


def _join(pieces: tuple[Piece, ...], markup: MediaMarkup, images: int, videos: int) -> tuple[Piece, ...]:
    joined: list[Piece] = []
    for piece in pieces:
        if piece.kind != "media":
            joined.append(piece)
            continue
        for number in range(1, images + 1):
            image = markup.one_image if images == 1 else markup.each_image
            joined += [Piece(kind="text", value=str(number)) if p.kind == "index" else p for p in image]
        joined += markup.video * videos
    return _merge(joined)


def _check_marks(text: str, layout: LayoutName, template: ChatTemplate) -> None:
    for name, mark in (("prompt", PROMPT), ("responses", RESPONSES)):
        if text.count(mark) != 1:
            raise CheckpointError(
                f"{template.file}: the chat template does not show the {name} once and unchanged in the "
                f"{layout} layout (does it strip white space?): {text!r}. Use the model's released template."
            )


def _read_template(checkpoint: Checkpoint) -> tuple[Path, str]:
    """The chat template and its file: of the last adapter, in any of its places, or else of the base."""
    for folder in dict.fromkeys((checkpoint.folders[-1], checkpoint.trunk)):
        if (file := folder / "chat_template.jinja").is_file():
            return file, file.read_text("utf-8")
        for name in ("chat_template.json", "tokenizer_config.json"):
            file = folder / name
            if file.is_file() and isinstance(template := read_json(file).get("chat_template"), str):
                return file, template
    raise CheckpointError(
        f"{checkpoint.folders[-1]} has no chat template (chat_template.jinja, or chat_template in "
        "tokenizer_config.json). Copy it from the model that was trained."
    )
