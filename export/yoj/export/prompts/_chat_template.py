"""Chat template of a checkpoint, rendered by transformers: the model for packed rows, and their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from yoj.runtime.manifest import LayoutName, Piece
from yoj.runtime.packing import without_last_newlines
from yoj.runtime.script import Parts, Script, Turn
from yoj.runtime.stretch import Span

from .._errors import CheckpointError
from ..checkpoint.checkpoint import SEPARATOR, Checkpoint
from ._rendering import Renderer, TemplateFailedError, TemplateRefusedError
from ._template_files import read_template

RENDERER = Renderer()
"""Rendering process, one for all templates: starting it takes longer than rendering."""
GLUE = "\n\n"
"""Text on either side of the separator (mr2rm/data/dataset.py of the YOJO code)."""

RESPONSE = "\ue000"
"""Marks that no template has of its own."""


@dataclass(frozen=True)
class MediaMarkup:
    """Markup by which a family's chat template shows images and videos."""

    image_token: str
    """Special token that the processor replaces by the tokens of one image."""
    video_token: str
    one_image: tuple[Piece, ...]
    each_image: tuple[Piece, ...]
    video: tuple[Piece, ...]
    packed_video: tuple[Piece, ...]
    """Part of ``video`` that remains once the processor has made its replacements."""
    both: bool
    """Whether the template shows images and a video of one request."""
    bos: str | None
    """Token that the processor puts before every rendered text; None where it puts none."""


class ChatTemplate:
    """Chat template of a checkpoint."""

    def __init__(self, checkpoint: Checkpoint):
        self.file, self._template = read_template(checkpoint)  # first: its errors are the plainer ones
        self.tokenizer: Any = _stock_tokenizer(checkpoint.file("tokenizer.json").parent)
        if checkpoint.separator_id is not None:
            self.tokenizer.add_tokens([SEPARATOR], special_tokens=True)
        self._apart = checkpoint.head.layout.apart
        self.glue = "" if checkpoint.head.layout.turn == "user" else GLUE
        """Text on either side of the separator; in the user layout, also before the first response."""
        self._shown_after, self._after = self._behind_responses(checkpoint)
        self.strips_newlines = checkpoint.head.layout.scored == "eos" and not self._shown_after.strip("\n")
        """Whether newlines at the end of a response are left out, as those behind a row that nothing closes are."""

    def render(self, layout: LayoutName, script: Script) -> str:
        """Text of one joint row without BOS; each image or video of the prompt is its placeholder token.

        Args:
            layout: turn of the responses.
            script: script whose responses are texts.

        Raises:
            TemplateRefusedError: the template refuses the turns.
            TemplateFailedError: the template is broken, or does not end in time.
        """
        text = self._render(layout, script)
        return text.removesuffix(self._shown_after) + self._after if self._shown_after != self._after else text

    def _behind_responses(self, checkpoint: Checkpoint) -> tuple[str, str]:
        """Text behind a response in the assistant turn: as the template shows it, and as the trainer scored it."""
        scored = checkpoint.head.layout.scored
        if not checkpoint.head.layout.single or checkpoint.head.layout.turn == "user":
            return "", ""
        script = Script((Turn("user", ("?",)),), ((RESPONSE,),), (), (), ())
        shown = self._render("assistant", script).partition(RESPONSE)[2]
        if scored == "last":
            return shown, shown
        if scored == "before_padding":
            padding = _padding(checkpoint, self.tokenizer)
            _check_padding(checkpoint, self.tokenizer, shown, padding)
            return shown, _without_end(shown, padding)
        if (eos := self.tokenizer.eos_token) is None:
            raise CheckpointError(
                f"{checkpoint.file('tokenizer_config.json')} has no eos_token, which {checkpoint.head.layout.name} "
                "scores. Copy it from the training checkpoint."
            )
        closed = shown.rstrip("\n")
        return shown, closed if closed.endswith(eos) else f"{closed} {eos}"

    def encode(self, text: str, script: Script) -> list[int]:
        """Token ids of a rendered text, of which the response is encoded apart where its trainer did so."""
        begin = len(text)
        if self._apart and all(isinstance(part, str) for part in script.responses[0]):
            begin -= len("".join(map(str, script.responses[0])) + self._after)
        parts = (part for part in (text[:begin], text[begin:]) if part)
        return [number for part in parts for number in self.tokenizer(part, add_special_tokens=False)["input_ids"]]

    def _render(self, layout: LayoutName, script: Script) -> str:
        """Text that the template itself shows."""
        between = f"{self.glue}{SEPARATOR}{self.glue}"
        responses = between.join("".join(map(str, parts)) for parts in script.responses)
        messages: list[dict[str, Any]] = [
            {"role": turn.role, "content": _content(turn.parts, script)} for turn in script.turns
        ]
        if layout == "assistant":
            messages.append({"role": "assistant", "content": [{"type": "text", "text": responses}]})
        elif isinstance(script.turns[-1].parts[-1], str):
            messages[-1]["content"][-1]["text"] += self.glue + responses
        else:
            messages[-1]["content"].append({"type": "text", "text": self.glue + responses})
        try:
            return RENDERER.render(self._template, messages, self.tokenizer.special_tokens_map)
        except TemplateFailedError as error:
            raise TemplateFailedError(
                f"{self.file}: the chat template fails: {error}. Use the model's released template."
            ) from error
        except TemplateRefusedError as error:
            roles, images = [turn.role for turn in script.turns], len(script.media) - len(script.videos)
            raise TemplateRefusedError(
                f"{self.file}: the chat template cannot show the turns {', '.join(roles)} with {images} images in the "
                f"{layout} layout: {error}. Use the model's released template."
            ) from error


def template_ids(
    template: ChatTemplate, markup: MediaMarkup, layout: LayoutName, script: Script, media: Sequence[Sequence[Span]]
) -> list[int]:
    """Token ids as the YOJO code makes them: template, processor, tokenizer; right for harmless text only.

    Args:
        template: chat template of the checkpoint.
        markup: markup of the family.
        layout: layout of the row.
        script: script whose responses are texts.
        media: text and tokens of each of its images and videos.
    """
    if template.strips_newlines:
        script = replace(script, responses=tuple(without_last_newlines(parts) for parts in script.responses))
    text = with_bos(template.render(layout, script), markup, layout, bool(media))
    done = ""
    for number, spans in enumerate(media):
        shown = "".join(
            s.text if s.ids is None else "".join(template.tokenizer.convert_ids_to_tokens(s.ids)) for s in spans
        )
        replaced = markup.image_token
        if number in script.videos:
            replaced, shown = _written(markup.video, markup.video_token), _written(markup.packed_video, shown)
        # What was replaced is done with: it may hold the token of the next medium.
        before, _, text = text.partition(replaced)
        done += before + shown
    return template.encode(done + text, script)


def with_bos(text: str, markup: MediaMarkup, layout: LayoutName, media: bool) -> str:
    """Rendered text with the BOS that its processor puts before it.

    The YOJO code tokenises a text-only pack of the assistant layout without its processor, so without BOS.
    """
    bare = layout == "assistant" and not media
    return text if bare or markup.bos is None or text.startswith(markup.bos) else markup.bos + text


def _padding(checkpoint: Checkpoint, tokenizer: Any) -> str | None:
    """Padding token that the model was trained with, as ``config.json`` or, for adapters, the tokenizer has it."""
    if (token := _token(tokenizer, checkpoint.config["text_config"].get("pad_token_id"))) is not None:
        return token
    return None if checkpoint.base is None else tokenizer.pad_token


def _token(tokenizer: Any, number: Any) -> str | None:
    return tokenizer.convert_ids_to_tokens(number) if type(number) is int and 0 <= number < len(tokenizer) else None


def _check_padding(checkpoint: Checkpoint, tokenizer: Any, shown: str, padding: str | None) -> None:
    """Refuse a ``config.json`` for which versions of transformers score different tokens.

    Raises:
        CheckpointError: the file names a padding token outside ``text_config`` alone, and rows end with it.
    """
    top = _token(tokenizer, checkpoint.config.get("pad_token_id"))
    if checkpoint.config["text_config"].get("pad_token_id") is None and _without_end(shown, top) != _without_end(
        shown, padding
    ):
        raise CheckpointError(
            f"{checkpoint.trunk / 'config.json'} has pad_token_id ({top}) outside text_config alone, and rows end with "
            "that token: transformers 5 does not read it there and scores it, a version that does scores the token "
            "before. Write it into text_config if the trainer read it, or remove it if not."
        )


def _without_end(text: str, token: str | None) -> str:
    while token and text.endswith(token):
        text = text.removesuffix(token)
    return text


def _content(parts: Parts, script: Script) -> list[dict[str, Any]]:
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "video" if part in script.videos else "image"}
        for part in parts
    ]


def _written(pieces: Sequence[Piece], medium: str) -> str:
    return "".join(medium if piece.kind == "medium" else piece.value for piece in pieces)


def _stock_tokenizer(folder: Path) -> Any:
    """Load the tokenizer as transformers reads it, without code of the checkpoint.

    Raises:
        CheckpointError: transformers cannot read it.
    """
    try:
        try:
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except ValueError:  # a class of its own, in a Python file that is not run
            return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except BaseException as error:  # the libraries raise what they like; a panic of Rust is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = (str(error) or repr(error)).splitlines()[0]
        raise CheckpointError(
            f"transformers cannot read the tokenizer of {folder} (tokenizer.json, tokenizer_config.json): {reason}. "
            "Copy these files from the model that was trained."
        ) from error
