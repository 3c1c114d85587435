"""Layout of a checkpoint: its chat template, rendered once, as literal pieces that the runtime only has to join.

Packs of many kinds are then compared, token for token, with what the template and the tokenizer make of them. What a
template shows in another way than the pieces say is left out of the layout, so that the runtime refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from yoj.runtime import Image, Video
from yoj.runtime.errors import BundleError
from yoj.runtime.manifest import Layout, LayoutName, Piece, Turns
from yoj.runtime.packing import Packer
from yoj.runtime.request import Role
from yoj.runtime.script import Parts, Script, Turn
from yoj.runtime.stretch import Span
from yoj.runtime.text import TextEncoder, read_tokenizer

from .._errors import CheckpointError
from ..checkpoint.checkpoint import SEPARATOR, Checkpoint
from ._chat_template import ChatTemplate, MediaMarkup, template_ids, with_bos
from ._rendering import TemplateFailedError

# White space around the marks shows whether a template strips what it is given.
RESPONSES = "\n \ue000 \n"
MARKS = tuple(f"\n {chr(0xE001 + number)} \n" for number in range(4))
"""Texts of the turns."""
THOUGHT = "One.<think>\nTwo.\n</think>\n\nThree."
"""Response of which templates of thinking models leave a part out."""
IMAGE, VIDEO = Image(b""), Video(b"")
"""Media that are only counted."""
CONVERSATIONS: tuple[tuple[Role, ...], ...] = (
    ("user", "assistant", "user"),
    ("system", "user"),
    ("system", "user", "assistant", "user"),
)
MANY = ((1, 0), (2, 0), (3, 0), (11, 0), (0, 1))
"""Images and videos of the questions that are compared."""


def render_layout(checkpoint: Checkpoint, layout: LayoutName, markup: MediaMarkup) -> Layout:
    """Render the chat template with marks in place of the texts and split the result at the special tokens.

    Raises:
        CheckpointError: the template changes the texts that it is given, or shows media in an unknown way.
    """
    trained = checkpoint.head.layout
    if trained.single and layout != trained.turn:
        raise CheckpointError(
            f"{checkpoint.folders[-1]} is of the layout {trained.name}, whose responses stand in the {trained.turn} "
            f"turn: give --layout {trained.turn}."
        )
    reader = _Reader(ChatTemplate(checkpoint), layout, markup, checkpoint, encoder_of(checkpoint))
    gathers = reader.gathers()
    question: tuple[Role, ...] = ("user",)
    rendered = Layout(
        name=layout,
        separator=None if checkpoint.separator_id is None else SEPARATOR,
        separator_id=checkpoint.separator_id,
        glue=reader.template.glue,
        text_only=reader.turns(question, False, gathers),
        with_media=reader.turns(question, True, gathers),
        one_image=markup.one_image,
        each_image=markup.each_image,
        video=markup.packed_video,
        strips_newlines=reader.template.strips_newlines,
        splits_responses=checkpoint.head.layout.apart,
    )
    if forged := next((told for piece in rendered.pieces() if (told := reader.encoder.forgeable(piece.value))), None):
        raise CheckpointError(f"{checkpoint.file('tokenizer.json')}: {forged}. Copy the model's released tokenizer.")
    for images, videos in [(0, 0), *MANY, *([(1, 1), (2, 1)] if markup.both else [])]:
        script = _script([("user", (*[IMAGE] * images, *[VIDEO] * videos, "Which of these?"))])
        if not reader.fits(rendered, script):
            what = f"shows {images} images and {videos} videos" if images or videos else "shows a question and answers"
            raise CheckpointError(
                f"{reader.template.file}: the chat template {what} in a way that this version does not know, or the "
                f"tokenizer changes the text: {reader.template.render(layout, script)!r}. Use the model's released "
                "template and tokenizer."
            )
    thought = _script([("user", ("Which?",))], THOUGHT)
    if not reader.fits(rendered, thought):
        raise CheckpointError(
            f"{reader.template.file}: the chat template changes a response that holds a thought, {THOUGHT!r} becomes "
            f"{reader.template.render(layout, thought)!r}, so that what is scored is not what was answered. Give the "
            "checkpoint a template that shows responses as they are, as it was trained."
        )
    return _with_conversations(_with_parts(rendered, reader), reader, gathers)


def encoder_of(checkpoint: Checkpoint) -> TextEncoder:
    """Tokenizer of the checkpoint as packed rows are encoded with it."""
    try:
        return TextEncoder(read_tokenizer(checkpoint.tokenizer.to_str().encode()))
    except (BundleError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.file('tokenizer.json')}: {error}") from error


def split_pieces(text: str, special: Sequence[str], media: Sequence[str]) -> tuple[Piece, ...]:
    """Split a rendered text at its special tokens and the tokens of media."""
    marks = {token: Piece(kind="medium") for token in media}
    marks |= {token: Piece(kind="token", value=token) for token in special if token not in marks}
    longest_first = sorted(marks, key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text)
    return tuple(marks.get(part, Piece(kind="text", value=part)) for part in parts if part)


@dataclass(frozen=True)
class _Reader:
    """Reader of a layout's pieces from rendered texts."""

    template: ChatTemplate
    layout: LayoutName
    markup: MediaMarkup
    checkpoint: Checkpoint
    encoder: TextEncoder

    def turns(self, roles: Sequence[Role], media: bool, gathers: bool) -> Turns:
        """Pieces around turns of these roles, with an image at the beginning of the first user turn or without.

        Raises:
            CheckpointError: the template refuses such turns, or does not show their texts once and unchanged.
        """
        first = roles.index("user")
        told: list[tuple[Role, tuple[Any, ...]]] = [
            (role, ((IMAGE,) if media and k == first else ()) + (MARKS[k],)) for k, role in enumerate(roles)
        ]
        gaps = self._gaps(told)
        if media:
            gaps = self._without_image(gaps, gathers)
        spoken = [*roles, "assistant"] if self.layout == "assistant" else list(roles)
        keys = [role if not k else f"{spoken[k - 1]}>{role}" for k, role in enumerate(spoken)]
        before = dict[str, tuple[Piece, ...]]()
        for key, gap in zip(keys, gaps, strict=False):
            if before.setdefault(key, gap) != gap:
                raise CheckpointError(f"{self.template.file}: the chat template opens turns of one kind in two ways.")
        return Turns(before=before, after=gaps[-1])

    def gathers(self) -> bool:
        """Whether an image between two texts stands elsewhere."""
        text = self.template.render(self.layout, _script([("user", (MARKS[0], IMAGE, MARKS[1]))], RESPONSES))
        between = text.partition(MARKS[0])[2].partition(MARKS[1])[0]
        return self.markup.image_token not in between

    def text_glue(self) -> str:
        """Text between two texts of one turn."""
        text = self.template.render(self.layout, _script([("user", (MARKS[0], MARKS[1]))], RESPONSES))
        return text.partition(MARKS[0])[2].partition(MARKS[1])[0]

    def fits(self, layout: Layout, script: Script) -> bool:
        """Whether the row of a script is what the template and the tokenizer make of it."""
        image, video = (
            (Span(ids=np.array([self.encoder.token_id(token)], np.int64)),)
            for token in (self.markup.image_token, self.markup.video_token)
        )
        media = [video if number in script.videos else image for number in range(len(script.media))]
        script = script if layout.separator else replace(script, responses=script.responses[:1])
        (pack,) = Packer(self.encoder, layout, 10**9).pack(script, media)
        expected = template_ids(self.template, self.markup, self.layout, script, media)
        return pack.input_ids_L.tolist() == expected

    def _gaps(self, told: Sequence[tuple[Role, tuple[Any, ...]]]) -> list[tuple[Piece, ...]]:
        """Pieces before each text, before the responses and behind them."""
        script = _script(told, RESPONSES)
        text = with_bos(self.template.render(self.layout, script), self.markup, self.layout, bool(script.media))
        marks = [parts[-1] for _, parts in told]
        for name, mark in (*(("prompt", mark) for mark in marks), ("responses", RESPONSES)):
            if text.count(mark) != 1:
                raise CheckpointError(
                    f"{self.template.file}: the chat template does not show the {name} once and unchanged in the "
                    f"{self.layout} layout (does it strip white space?): {text!r}. Use the model's released template."
                )
        special = [t.content for t in self.checkpoint.tokenizer.get_added_tokens_decoder().values() if t.special]
        gaps = re.split("|".join(map(re.escape, (*marks, RESPONSES))), text)
        if self.layout == "user":
            del gaps[-2]  # the glue between prompt and responses, which is no part of the template
        return [split_pieces(gap, special, (self.markup.image_token, self.markup.video_token)) for gap in gaps]

    def _without_image(self, gaps: Sequence[tuple[Piece, ...]], gathers: bool) -> list[tuple[Piece, ...]]:
        """Gaps with ``media``, or nothing, in the place of the image."""
        image = self.markup.one_image
        found = [
            (number, place)
            for number, gap in enumerate(gaps)
            for place in range(len(gap))
            if gap[place : place + len(image)] == image
        ]
        if len(found) != 1:
            raise CheckpointError(
                f"{self.template.file}: the chat template shows one image {len(found)} times. "
                "Use the model's released template."
            )
        ((number, place),) = found
        media = (Piece(kind="media"),) if gathers else ()
        gap = gaps[number]
        return [*gaps[:number], (*gap[:place], *media, *gap[place + len(image) :]), *gaps[number + 1 :]]


def _with_parts(layout: Layout, reader: _Reader) -> Layout:
    """Layout with the text between two texts of a turn, where rows with media between texts are right."""
    known = msgspec.structs.replace(layout, text_glue=reader.text_glue())
    turns: list[tuple[Any, ...]] = [
        ("Which", "of these?"),
        ("Look: ", IMAGE, "which?"),
        (IMAGE, "and", IMAGE, "which?", "The first?"),
        ("In ", VIDEO, " what?"),
    ]
    turns += [(VIDEO, "or", IMAGE, "?")] if reader.markup.both else []
    # Where media are gathered, the responses of the user layout follow the last text, which is no longer the last part.
    turns += [] if layout.gathers_media and layout.name == "user" else [("Is it this? ", IMAGE)]
    return known if all(reader.fits(known, _script([("user", parts)])) for parts in turns) else layout


def _with_conversations(layout: Layout, reader: _Reader, gathers: bool) -> Layout:
    """Layout with the turns of conversations, where rows of conversations are right."""
    for roles in CONVERSATIONS:
        try:
            with_media = _joined(layout.with_media, reader.turns(roles, True, gathers))
            longer = msgspec.structs.replace(
                layout, text_only=_joined(layout.text_only, reader.turns(roles, False, gathers)), with_media=with_media
            )
            if all(reader.fits(longer, script) for script in _conversations(roles, longer)):
                layout = longer
        except TemplateFailedError:
            raise
        except CheckpointError:
            continue
    shown = [role for role in ("system", "user", "assistant") if _shows_media(layout, reader, role)]
    return msgspec.structs.replace(layout, media_roles=tuple(shown))


def _conversations(roles: Sequence[Role], layout: Layout) -> list[Script]:
    """Conversations of these roles with different media."""
    texts = [f"Turn {number} of them." for number in range(len(roles))]
    users = [number for number, role in enumerate(roles) if role == "user"]

    def shown(media: dict[int, tuple[Any, ...]]) -> Script:
        return _script([(role, (*media.get(k, ()), texts[k])) for k, role in enumerate(roles)])

    scripts = [shown({}), shown({users[0]: (IMAGE,)}), shown({users[-1]: (IMAGE, IMAGE)}), shown({users[-1]: (VIDEO,)})]
    scripts.append(shown(dict.fromkeys(users, (IMAGE,))))
    if layout.text_glue is not None:
        scripts.append(shown(dict.fromkeys(users, ("Look: ", IMAGE))))
    return scripts


def _shows_media(layout: Layout, reader: _Reader, role: Role) -> bool:
    """Whether the template shows an image that stands in a turn of this role."""
    roles: dict[str, tuple[Role, ...]] = {
        "system": ("system", "user"), "user": ("user",), "assistant": ("user", "assistant", "user")
    }  # fmt: skip
    script = _script([(one, (IMAGE, "So.") if one == role else ("So?",)) for one in roles[role]])
    keys = {f"{a}>{b}" for a, b in zip(roles[role], roles[role][1:], strict=False)} | {roles[role][0]}
    try:
        return keys <= layout.with_media.before.keys() and reader.fits(layout, script)
    except TemplateFailedError:
        raise
    except CheckpointError:
        return False


def _joined(known: Turns, more: Turns) -> Turns:
    if known.after != more.after or any(known.before.get(key, gap) != gap for key, gap in more.before.items()):
        raise CheckpointError("The chat template opens or ends turns of one kind in two ways.")
    return Turns(before={**known.before, **more.before}, after=known.after)


def _script(told: Sequence[tuple[Role, tuple[Any, ...]]], responses: str | None = None) -> Script:
    """Script of turns, each of texts, `IMAGE` and `VIDEO`; two turns where it has no responses."""
    media: list[Image | Video] = []
    turns: list[Turn] = []
    for role, parts in told:
        numbered: list[str | int] = []
        for part in parts:
            numbered.append(part if isinstance(part, str) else len(media))
            media += [] if isinstance(part, str) else [part]
        turns.append(Turn(role, tuple(numbered)))
    answers: tuple[Parts, ...] = (("The first.",), ("No.",)) if responses is None else ((responses,),)
    return Script(tuple(turns), answers, tuple(media), ("",) * len(media), (0,) * len(media))
