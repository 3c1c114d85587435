"""What a caller asks: one prompt, its images and the responses to score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import LimitError, RequestError
from .images import ImageInput
from .manifest import Limits
from .video import VideoInput

Overflow = Literal["error", "truncate"]


@dataclass(frozen=True)
class Request:
    """One prompt with its images and its N responses."""

    prompt: str
    responses: Sequence[str]
    images: Sequence[ImageInput] = ()
    video: VideoInput | None = None
    """A video file, a folder of frames, or a list of frames."""
    fps: float | None = None
    """Frames a second of a folder or list of frames; None for one every 4 seconds."""
    overflow: Overflow = "error"
    """What to do when the pack is longer than the bundle allows: refuse it, or cut the longest responses and say so."""


def check_request(request: Request, limits: Limits) -> None:
    """Refuse what cannot be packed.

    Raises:
        RequestError: no response, a text that is not a string or not valid Unicode.
        LimitError: more responses or images than the bundle takes.
    """
    if not isinstance(request, Request):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RequestError(f"A request is a {type(request).__name__}; give a yoj.runtime.Request.")
    _check_list(request.responses, "responses", "strings, even for one response")
    _check_list(request.images, "images", "images, even for one image")
    if not request.responses:
        raise RequestError("The request has no responses; give at least one.")
    if len(request.responses) > limits.N:
        raise LimitError(
            f"The request has N={len(request.responses)} responses; the limit of this bundle is {limits.N}. "
            "Split it; note that scores compare only within one pack."
        )
    if len(request.images) > limits.images:
        raise LimitError(
            f"The request has {len(request.images)} images; the limit of this bundle is {limits.images}. "
            "Leave some out."
        )
    if request.video is not None and not limits.frames:
        raise LimitError("This bundle takes no video; give frames as images.")
    if request.video is not None and request.images and not limits.images_with_video:
        raise LimitError("The model takes images or a video, not both in one request. Leave one of them out.")
    if request.fps is not None and request.video is None:
        raise RequestError("fps is given without a video.")
    if request.overflow not in ("error", "truncate"):
        raise RequestError(f"overflow is {request.overflow!r}; give 'error' or 'truncate'.")
    _check_text(request.prompt, "prompt")
    for number, response in enumerate(request.responses):
        _check_text(response, f"responses[{number}]")


def _check_list(value: object, name: str, content: str) -> None:
    """A set, a dictionary or a generator has no order that scores could come back in."""
    if not isinstance(value, list | tuple):
        raise RequestError(f"{name} is a {type(value).__name__}; give a list of {content}.")


def _check_text(text: object, name: str) -> None:
    if not isinstance(text, str):
        raise RequestError(f"{name} is a {type(text).__name__}; give a string.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"{name} holds a lone surrogate U+{ord(text[error.start]):04X} at character {error.start}, "
            "which no tokenizer can read; remove it or decode the source with errors='replace'."
        ) from error
