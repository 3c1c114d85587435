"""Script: a request in one form, turns and responses as texts and numbered media, whatever way the caller wrote it."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast, get_args

from .errors import LimitError, RequestError
from .manifest import Limits
from .request import Duplicates, Image, Message, Overflow, Placeholders, Request, Role, Video

Parts: TypeAlias = "tuple[str | int, ...]"
"""Parts of a turn or response: texts, and numbers of media."""

MARKERS = (
    r"<\|vision_start\|>(?:<\|(?:image|video)_pad\|>)+<\|vision_end\|>"
    r"|<\|?(?:image|img|video|frame)s?(?:[ _-]?\d+)?(?:_(?:pad|placeholder|token|soft_token|context))?/?\|?>"
    r"|<\|?(?:vision|image|media)_(?:start|end|pad)\|?>|<\|begin_of_image\|>|<ImageHere>|<start_of_image>"
    r"|<im_(?:patch|col|low|start|end)>|\[(?:IMG|IMAGE)\]"
)
"""Placeholders that other frameworks write for a medium; upper and lower case are alike."""
UNKNOWN = "which this judge is not known to be trained on"
"""End of the notices about such inputs."""


@dataclass(frozen=True)
class Turn:
    """One turn of the prompt."""

    role: Role
    parts: Parts


@dataclass(frozen=True)
class Script:
    """Request in its checked form."""

    turns: tuple[Turn, ...]
    """Turns of the prompt; the last is the user's."""
    responses: tuple[Parts, ...]
    media: tuple[Image | Video, ...] = ()
    """Media by number: those of the prompt first, then those of each response."""
    names: tuple[str, ...] = ()
    """Name of each medium in errors."""
    owners: tuple[int, ...] = ()
    """Owner of each medium: 0 for the prompt and k+1 for response k."""
    notices: tuple[str, ...] = ()
    """Notices of what was read in another way than it may have been meant."""

    @functools.cached_property
    def videos(self) -> frozenset[int]:
        """Numbers of the media that are videos."""
        return frozenset(number for number, medium in enumerate(self.media) if isinstance(medium, Video))


def script_of(request: Request) -> Script:
    """Convert a request to its script and check it.

    Raises:
        RequestError: something that is no request: no response, a text that is not one or not valid Unicode, a
            conversation that does not end with the user's turn, media that have no place or places without a medium.
    """
    if not isinstance(request, Request):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RequestError(f"A request is a {type(request).__name__}; give a yoj.runtime.Request.")
    _check_choices(request)
    responses = _listed(request.responses, "responses", "texts, even for one response")
    if not responses:
        raise RequestError("The request has no responses; give at least one.")
    spoken = [_Spoken(role, name, list(_parts(content, name))) for role, content, name in _turns(request.prompt)]
    spoken, notices = _at_markers(spoken, request.placeholders)
    media = _Media(request)
    turns = tuple(
        Turn(turn.role, media.numbered(turn.parts, 0, turn.name)) for turn in _with_short_form(spoken, request)
    )
    names = [f"responses[{k}]" for k in range(len(responses))]
    answers = tuple(
        media.numbered(list(_parts(response, name)), k + 1, name)
        for k, (response, name) in enumerate(zip(responses, names, strict=True))
    )
    if len(turns) > 1:
        notices.append(
            f"the prompt is a conversation of {len(turns)} turns, which this judge is not known to be trained on"
        )
    return Script(turns, answers, tuple(media.media), tuple(media.names), tuple(media.owners), tuple(notices))


@dataclass(frozen=True)
class _Spoken:
    """Turn whose media have no numbers yet."""

    role: Role
    name: str
    parts: list[str | Image | Video]


class _Media:
    """Numbering of the media of a request."""

    def __init__(self, request: Request):
        self._request = request
        self.media: list[Image | Video] = []
        self.names: list[str] = []
        self.owners: list[int] = []

    def numbered(self, parts: Sequence[str | Image | Video], owner: int, name: str) -> Parts:
        out: list[str | int] = []
        for place, part in enumerate(parts):
            where = name if len(parts) == 1 else f"{name}[{place}]"
            if isinstance(part, str):
                out.append(part)
                continue
            if part.source is None:
                raise RequestError(f"{where} is {type(part).__name__}() without a source; give one.")
            out.append(len(self.media))
            self.media.append(part)
            self.names.append(self._short_name(part) or where)
            self.owners.append(owner)
        return tuple(out)

    def _short_name(self, part: Image | Video) -> str | None:
        """Name that the caller used for a medium of the short form."""
        if part.source is self._request.video:
            return "video"
        return next((f"images[{k}]" for k, image in enumerate(self._request.images) if image is part.source), None)


def check_limits(script: Script, limits: Limits) -> None:
    """Refuse a request over the limits of a bundle.

    Raises:
        LimitError: there are more responses, images or videos than the bundle takes, or images with a video where it
            takes only one of them.
    """
    if (n := len(script.responses)) > limits.N:
        raise LimitError(
            f"The request has N={n} responses; the limit of this bundle is {limits.N}. "
            "Score the first so many, or let yoj.runtime.knockout find the best alone; as a reward, "
            "RewardSettings(max_responses=...) reads more in packs. Scores of separate requests do not compare."
        )
    videos = script.videos
    if videos and not limits.frames:
        raise LimitError("This bundle takes no video; give frames as images.")
    if videos and len(videos) < len(script.media) and not limits.images_with_video:
        raise LimitError("The model takes images or a video, not both in one request. Leave one of them out.")
    for owner in sorted(set(script.owners)):
        of = "The request" if owner == 0 else f"responses[{owner - 1}]"
        numbers = {number for number, one in enumerate(script.owners) if one == owner}
        if (images := len(numbers - videos)) > limits.images:
            raise LimitError(f"{of} has {images} images; the limit of this bundle is {limits.images}. Leave some out.")
        if (films := len(numbers & videos)) > 1 and not limits.images_with_video:
            raise LimitError(f"{of} has {films} videos; the model takes one. Leave the others out.")


def _check_choices(request: Request) -> None:
    for name, options in (("overflow", Overflow), ("duplicates", Duplicates), ("placeholders", Placeholders)):
        value = getattr(request, name)
        if value not in get_args(options):
            raise RequestError(f"{name} is {value!r}; give {' or '.join(map(repr, get_args(options)))}.")
    for name in ("fps", "timestamps"):
        if getattr(request, name) is not None and request.video is None:
            raise RequestError(f"{name} is given without a video.")


def _turns(prompt: object) -> list[tuple[Role, object, str]]:
    """Role, content and name of each turn."""
    if not _is_conversation(prompt):
        return [("user", prompt, "prompt")]
    turns: list[tuple[Role, object, str]] = []
    for number, message in enumerate(cast("Sequence[Message | Mapping[str, Any]]", prompt)):
        name = f"prompt[{number}]"
        if isinstance(message, Message):
            role, content = message.role, message.content
        elif isinstance(message, Mapping) and set(message) == {"role", "content"}:  # pyright: ignore[reportUnnecessaryIsInstance]
            role, content = message["role"], message["content"]
        else:
            fields = f"the fields {sorted(map(str, message))}" if isinstance(message, Mapping) else _kind(message)  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RequestError(f"{name} has {fields}; a turn of a conversation has role and content and nothing else.")
        if role not in get_args(Role):
            raise RequestError(f"{name} has the role {role!r}; give {', '.join(get_args(Role))}.")
        turns.append((role, content, f"{name}.content"))
    _check_roles([role for role, _, _ in turns])
    return turns


def _is_conversation(prompt: object) -> bool:
    if not isinstance(prompt, list | tuple):
        return False
    if not prompt:
        raise RequestError("prompt is an empty list; give a text, a list of parts, or a conversation.")
    first = next(iter(cast("Sequence[object]", prompt)), None)
    return isinstance(first, Message) or (isinstance(first, Mapping) and "role" in first)


def _check_roles(roles: Sequence[Role]) -> None:
    told = ", ".join(roles)
    spoken = roles[1:] if roles[0] == "system" else roles
    if not spoken or spoken[-1] != "user":
        raise RequestError(
            f"The conversation has the turns {told}; end it with the user's turn that the responses answer."
        )
    if any(role != ("user", "assistant")[place % 2] for place, role in enumerate(spoken)):
        raise RequestError(
            f"The conversation has the turns {told}; after a system turn, if there is one, the user's and the "
            "assistant's turns must follow each other in turn. Join neighbouring turns of one role."
        )


def _parts(content: object, name: str) -> Iterator[str | Image | Video]:
    """Checked parts of a prompt, a turn or a response."""
    if isinstance(content, str | Image | Video):
        content = (content,)
    elif not isinstance(content, list | tuple):
        raise RequestError(f"{name} is {_kind(content)}; give a text, or a list of texts, Image and Video.")
    parts = cast("Sequence[object]", content)
    for number, part in enumerate(parts):
        where = name if len(parts) == 1 else f"{name}[{number}]"
        part = _written(cast("Mapping[str, Any]", part), where) if isinstance(part, Mapping) else part
        if isinstance(part, str):
            yield _text(part, where)
        elif isinstance(part, Image | Video):
            yield part
        else:
            raise RequestError(f"{where} is {_kind(part)}; give a text, yoj.runtime.Image(...) or Video(...).")


def _written(part: Mapping[str, Any], name: str) -> object:
    """Part in the form of chat templates: ``{"type": "text", "text": ...}``, ``{"type": "image", "image": ...}``."""
    kind = part.get("type")
    known = {"text": {"text"}, "image": {"image"}, "video": {"video", "fps", "timestamps"}}
    wrong = part.keys() - known.get(str(kind), set[str]()) - {"type"}
    if kind not in known or wrong:
        what = f"the type {kind!r}" if kind not in known else f"the field {min(map(str, wrong))!r}"
        raise RequestError(
            f"{name} has {what}; a part is a text, or has a type (text, image, video) and the field of that name."
        )
    if kind == "text":
        return part.get("text")
    return (
        Image(part.get("image"))
        if kind == "image"
        else Video(part.get("video"), part.get("fps"), part.get("timestamps"))
    )


def _text(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"{name} holds a lone surrogate U+{ord(text[error.start]):04X} at character {error.start}, "
            "which no tokenizer can read; remove it or decode the source with errors='replace'."
        ) from error
    return str(text)


def _at_markers(turns: list[_Spoken], placeholders: Placeholders) -> tuple[list[_Spoken], list[str]]:
    """Interpret ``<image>`` and its kin as they are meant: places of media, texts, or a mistake."""
    found = [m[0] for turn in turns for part in turn.parts if isinstance(part, str) for m in _markers(part)]
    if not found:
        return turns, []
    if placeholders == "text":
        return turns, [f"the prompt holds {', '.join(dict.fromkeys(found))}, read as plain text"]
    if placeholders == "error":
        raise RequestError(
            f"The prompt holds {', '.join(dict.fromkeys(found))}, with which other frameworks mark the place of a "
            "medium; as plain text it costs accuracy. Give placeholders='media' where it is that place, and 'text' "
            "where it is text (yoj-score --placeholders, a field of a row, or RewardSettings of a reward)."
        )
    return [replace(turn, parts=[piece for part in turn.parts for piece in _split(part)]) for turn in turns], []


def _markers(text: str) -> Iterator[re.Match[str]]:
    return re.finditer(MARKERS, text, re.IGNORECASE)


def _split(part: str | Image | Video) -> Iterator[str | Image | Video]:
    if not isinstance(part, str):
        yield part
        return
    end = 0
    for marker in _markers(part):
        if text := part[end : marker.start()]:
            yield text
        yield Video() if "video" in marker[0].lower() else Image()
        end = marker.end()
    if text := part[end:]:
        yield text


def _with_short_form(turns: list[_Spoken], request: Request) -> list[_Spoken]:
    """Put ``images`` and ``video`` where the prompt says, or else before the text of the first user turn."""
    images = [Image(image) for image in _listed(request.images, "images", "images, even for one image", (list, tuple))]
    films = [] if request.video is None else [Video(request.video, request.fps, request.timestamps)]
    places = [part for turn in turns for part in turn.parts if not isinstance(part, str) and part.source is None]
    if not places:
        first = next(number for number, turn in enumerate(turns) if turn.role == "user")
        shown = replace(turns[first], parts=[*images, *films, *turns[first].parts])
        return [*turns[:first], shown, *turns[first + 1 :]]
    wanted = sum(isinstance(place, Video) for place in places)
    if (wanted, len(places) - wanted) != (len(films), len(images)):
        raise RequestError(
            f"The prompt has places for {len(places) - wanted} images and {wanted} videos, but {len(images)} images "
            f"and {len(films)} videos are given. Give one for each place."
        )
    waiting = {Image: iter(images), Video: iter(films)}

    def filled(part: str | Image | Video) -> str | Image | Video:
        return part if isinstance(part, str) or part.source is not None else next(waiting[type(part)])

    return [replace(turn, parts=[filled(part) for part in turn.parts]) for turn in turns]


def _listed(value: object, name: str, content: str, kinds: tuple[type, ...] = (Collection,)) -> list[Any]:
    """Items of a sequence. A set, a dictionary or a generator has no order that scores could come back in."""
    unordered = isinstance(value, str | bytes | bytearray | memoryview | AbstractSet | Mapping)
    if unordered or not isinstance(value, kinds):
        raise RequestError(f"{name} is {_kind(cast('object', value))}; give a list of {content}.")
    try:
        return list(cast("Collection[Any]", value))
    except TypeError as error:  # an array of no dimension
        raise RequestError(f"{name} is {_kind(value)} without items; give a list of {content}.") from error


def _kind(value: object) -> str:
    name = type(value).__name__
    # Pillow's pictures are called as ours are.
    return f"a {type(value).__module__}.{name}" if name in ("Image", "Video") else f"a {name}"
