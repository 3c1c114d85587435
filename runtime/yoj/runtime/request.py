"""Request of a caller: one prompt, its media, and the responses to score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .images import ImageInput
from .manifest import Mode
from .orders import Orders
from .video import VideoInput

Overflow = Literal["error", "truncate"]
Duplicates = Literal["share", "score"]
Placeholders = Literal["error", "media", "text"]
Method = Literal["pack", "groups"]
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Image:
    """Picture in a prompt or a response."""

    source: ImageInput | None = None
    """Path, bytes, PIL image or uint8 [H, W, 3] array; None for the next of the request's ``images``."""


@dataclass(frozen=True)
class Video:
    """Video in a prompt or a response."""

    source: VideoInput | None = None
    """File, folder of frames or list of frames; None for the request's ``video``."""
    fps: float | None = None
    """Frames per second of a folder or list of frames; None for one frame every 4 seconds."""
    timestamps: Sequence[float] | None = None
    """Seconds at which each frame of a folder or list stands, instead of ``fps``."""


Part: TypeAlias = "str | Image | Video"
Content: TypeAlias = "str | Image | Video | Sequence[str | Image | Video]"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: Content


Conversation: TypeAlias = "Sequence[Message | Mapping[str, Any]]"


@dataclass(frozen=True)
class Request:
    """One prompt and its N responses, each a text or a sequence of texts, `Image` and `Video`.

    >>> Request("What is shown?", ["A cat.", "A bus."], images=["photo.jpg"])
    >>> Request(["Make the sky red: ", Image("before.png")], [[Image("a.png")], [Image("b.png")]])
    >>> Request([{"role": "system", "content": "Be strict."}, {"role": "user", "content": "Why?"}], ["So.", "No."])
    """

    prompt: Content | Conversation
    """Question; or a conversation that ends with the user's turn, as `Message` or ``{"role", "content"}``."""
    responses: Sequence[Content]
    images: Sequence[ImageInput] = ()
    """Short form: images that stand before the text of the first user turn."""
    video: VideoInput | None = None
    """Short form: a video file, a folder of frames or a list of frames, after the images."""
    fps: float | None = None
    """Frames per second of ``video``; see `Video.fps`."""
    timestamps: Sequence[float] | None = None
    """Times of the frames of ``video``; see `Video.timestamps`."""
    overflow: Overflow = "error"
    """Treatment of a sequence longer than the bundle allows: refuse it, or cut the longest responses and say so."""
    mode: Mode | None = None
    """Mode: ``joint``, each response sees those before it, or ``isolated``, each sees the prompt and itself, as if it
    were scored alone; None for the call's mode, or else the one that the model was trained in."""
    orders: Orders | None = None
    """Number of rotations of the responses in joint reading, or ``all`` for up to 4; None for the call's, or else 1."""
    duplicates: Duplicates = "share"
    """Treatment of equal responses: ``share`` scores them once and gives each that score; ``score`` reads every
    copy."""
    placeholders: Placeholders = "error"
    """Meaning of ``<image>`` and its kin in a prompt: refused; the places of ``images`` and ``video`` (``media``),
    whose number must fit; or plain text, which the judgement then says (``text``)."""
    method: Method | None = None
    """Method for N responses: ``pack`` reads them all together, as does None; ``groups`` reads more than the model was
    trained on in several packs of as many as it was, each response in several of them, and joins the scores."""
    passes: int | None = None
    """Most packs that ``groups`` reads; None for four rounds, in each of which every response stands once."""
    dimension: str | None = None
    """Dimension of the judge that ranks the responses; None for the score that is pooled of all."""
    id: str | int | None = None
    """Name of the request, passed through to the judgement."""
    metadata: Any = None
    """Any value, passed through to the judgement."""
