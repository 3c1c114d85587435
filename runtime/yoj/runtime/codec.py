"""JSON -> `Request`, and `Judgement` -> JSON: the one codec of every command and server.

A request is an object with ``prompt`` (a text, a list of parts, or a conversation), ``responses`` (a list; each a text
or a list of parts) and, where wanted, the other fields of `Line`. Parts are texts, or objects as chat templates and the
APIs of servers write them::

    {"type": "text", "text": ...}
    {"type": "image", "image": X}    {"type": "image_url", "image_url": {"url": X}}
    {"type": "video", "video": X}    {"type": "video_url", "video_url": {"url": X}}

X is what `yoj.runtime.sources.Policy` reads. Whatever a text holds, it gives a request or a `RequestError`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, cast

import msgspec

from ._convert import to_struct
from ._fields import check_complete, check_names, ends_with_an_answer, nearest
from ._judgement import Judgement
from ._ranks import check_rankings
from .error_texts import shorten
from .errors import RequestError
from .manifest import Mode
from .request import Content, Duplicates, Image, Message, Method, Overflow, Placeholders, Request, Role, Video
from .sources import Policy
from .strict_json import Fields, check_values, parse_object

VALUES = {
    "text": ("text",),
    "input_text": ("text",),
    "image": ("image", "url", "path", "base64"),
    "image_url": ("image_url",),
    "input_image": ("image_url",),
    "video": ("video", "url", "path", "base64"),
    "video_url": ("video_url",),
}
"""Type of a part -> the fields one of which holds its content."""
TIMES = ("fps", "seconds_between_frames", "timestamps")
ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
ROLES_ELSEWHERE = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "developer": "system"}
GIVE = {
    "prompt": "a text, a list of parts, or a conversation",
    "responses": "a list of texts, or of lists of parts",
    "seconds_between_frames": "a number above 0",
    "timestamps": "a list of seconds, one for each frame",
    "rankings": "a list of ranks, one for each response, 1 = best",
    "mode": "'joint' or 'isolated'",
    "orders": "a number from 1, or 'all'",
    "overflow": "'error' or 'truncate'",
    "duplicates": "'share' or 'score'",
    "placeholders": "'error', 'media' or 'text'",
    "method": "'pack' or 'groups'",
    "passes": "a whole number",
    "dimension": "the name of a dimension of the judge",
    "id": "a text or a whole number",
}
"""JSON type -> the words with which errors ask for it."""


class Line(msgspec.Struct, frozen=True):
    """Fields of a request in JSON. Null means the same as a missing field."""

    prompt: str | list[Any]
    """Prompt of the request, also called ``messages``."""
    responses: list[Any]
    image: Any = None
    """One image or a list of them, before the text of the first user turn."""
    video: Any = None
    """Video file, folder of frames, or list of frames; after the images."""
    seconds_between_frames: float | None = None
    """Seconds from one frame of a folder or list to the next; 4 where it is left out."""
    timestamps: list[float] | None = None
    """Seconds of each frame, instead of ``seconds_between_frames``."""
    rankings: list[float] | None = None
    """[N] ranks, which scores are compared with; see `check_rankings`."""
    mode: Mode | None = None
    orders: int | Literal["all"] | None = None
    overflow: Overflow | None = None
    duplicates: Duplicates | None = None
    placeholders: Placeholders | None = None
    method: Method | None = None
    passes: int | None = None
    dimension: str | None = None
    """Dimension of the judge that ranks the responses, instead of the score that is pooled of all."""
    id: str | int | None = None
    metadata: Any = None
    """Any JSON value, passed through to the result."""


@dataclass(frozen=True)
class Ignore:
    """Fields that are ignored beside those of a request."""

    fields: frozenset[str] = frozenset()
    """Names to ignore, even those that would be read."""
    unknown: bool = False
    """Whether all fields that are not read are ignored."""

    def split(self, fields: Mapping[str, Any], known: Collection[str]) -> tuple[dict[str, Any], list[str]]:
        """Split fields into those to be read or refused, and names of the ignored ones."""
        kept = {k: v for k, v in fields.items() if k not in self.fields and (k in known or not self.unknown)}
        return kept, [name for name in fields if name not in kept]


@dataclass(frozen=True)
class Reading:
    """Settings for reading the lines of a file, or the requests of a server."""

    policy: Policy = field(default_factory=Policy)
    ignore: Ignore = field(default_factory=Ignore)
    overflow: Overflow = "error"
    """Overflow rule of requests that name none."""
    placeholders: Placeholders = "error"
    """Meaning of placeholders in requests that do not say it."""
    method: Method | None = None
    """Method of requests that name none."""
    passes: int | None = None
    """Most packs of requests that name neither method nor passes."""
    dimension: str | None = None
    """Dimension that ranks the responses of requests that name none."""


OF_TRAINING = ("language", "kind", "grades", "scene")
"""Fields of training data beside those of a request, which scoring does not need."""

L = TypeVar("L", bound=Line)


def decode_request(text: bytes, reading: Reading | None = None) -> Request:
    """Decode one request from the bytes of a JSON object.

    Raises:
        RequestError: the object is no request, or names media that may not be read; the text names the field.
    """
    reading = reading or Reading()
    return to_request(to_line(parse_object(text), Line, reading.ignore), reading)


def decode_tensors(prompt: bytes, responses: Sequence[bytes], images: Sequence[bytes]) -> Request:
    """Decode one request from bytes, as the typed tensors of inference servers hold them.

    Args:
        prompt: text in UTF-8.
        responses: texts in UTF-8.
        images: files, or their base64 or data URLs in ASCII, which is what JSON can hold.

    Raises:
        RequestError: a text is not UTF-8, or an image is no base64; the text names the tensor.
    """
    policy = Policy()
    return Request(
        _utf8(prompt, "PROMPT"),
        [_utf8(one, f"RESPONSES[{k}]") for k, one in enumerate(responses)],
        [_file(one, f"IMAGES[{k}]", policy) for k, one in enumerate(images)],
    )


def _utf8(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{name} is not UTF-8: byte {error.start} is 0x{value[error.start]:02X}. Send its text as UTF-8."
        ) from error


def _file(value: bytes, name: str, policy: Policy) -> bytes:
    try:
        source = value.decode("ascii")
    except UnicodeDecodeError:
        return value
    found = policy.image(source, name)
    assert isinstance(found, bytes)  # this policy reads no files
    return found


def encode_judgement(judgement: Judgement) -> dict[str, Any]:
    """Encode a judgement as values that JSON holds. ``id`` and ``metadata`` are left out where the request has none."""
    fields = judgement.to_dict()
    return {name: value for name, value in fields.items() if value is not None or name not in ("id", "metadata")}


def decode_judgement(fields: Mapping[str, Any]) -> Judgement:
    """Decode a judgement from what `encode_judgement` made of it; fields that this version does not know are left out.

    Raises:
        msgspec.ValidationError: the fields are no judgement.
    """
    # msgspec sets no field that has its default, and `to_dict` shows those that are set.
    return replace(to_struct(fields, Judgement))


def split(fields: Fields, line: type[Line], ignore: Ignore) -> tuple[Fields, list[str]]:
    """Split an object into fields to be read or refused, and names of those to be ignored on request."""
    return ignore.split(fields, {*line.__struct_fields__, *OF_TRAINING, "messages"})


def to_line(fields: Fields, line: type[L], ignore: Ignore) -> L:
    """Check the fields of an object.

    Args:
        fields: the object, from `parse_object`.
        line: struct of the allowed fields.
        ignore: fields to be ignored.

    Raises:
        RequestError: a field is missing, unknown, or of a wrong type, or rankings are no ranks.
    """
    kept, _ = split(fields, line, ignore)
    check_values(kept)
    kept = _prompt_of(kept)
    check_complete(kept)
    check_names(kept, {*line.__struct_fields__, *OF_TRAINING}, line.__struct_fields__)
    try:
        found = to_struct(kept, line)
    except msgspec.ValidationError as error:
        raise RequestError(_wrong_type(kept, str(error))) from error
    if found.rankings is not None:
        check_rankings(found.rankings, len(found.responses))
    return found


def to_request(line: Line, reading: Reading) -> Request:
    """Build the request of a line. Files are not opened; URLs are fetched.

    Raises:
        RequestError: media may not be read, or parts or times are malformed.
    """
    policy = reading.policy
    fps, timestamps = _times({name: getattr(line, name, None) for name in TIMES}, "")
    if line.video is None and (fps or timestamps) is not None:
        name = "timestamps" if fps is None else "seconds_between_frames"
        raise RequestError(f"{name} is given without a video. Give it in video, or leave {name} out.")
    return Request(
        _prompt(line.prompt, policy),
        [_content(response, f"responses[{k}]", policy) for k, response in enumerate(line.responses)],
        [policy.image(image, name) for name, image in _images(line.image)],
        None if line.video is None else policy.video(line.video, "video"),
        fps,
        timestamps,
        overflow=line.overflow or reading.overflow,
        mode=line.mode,
        orders=line.orders,
        duplicates=line.duplicates or "share",
        placeholders=line.placeholders or reading.placeholders,
        method=line.method or reading.method,
        passes=reading.passes if (line.method, line.passes) == (None, None) else line.passes,
        dimension=line.dimension or reading.dimension,
        id=line.id,
        metadata=line.metadata,
    )


def _images(value: object) -> list[tuple[str, object]]:
    if value is None:
        return []
    if isinstance(value, list):
        return [(f"image[{k}]", one) for k, one in enumerate(cast("list[object]", value))]
    return [("image", value)]


def _prompt_of(fields: Fields) -> Fields:
    """The same fields with ``messages``, the other name of ``prompt``, renamed."""
    messages = fields.get("messages")
    rest = {name: value for name, value in fields.items() if name != "messages"}
    if messages is None:
        return rest
    if rest.get("prompt") is not None:
        raise RequestError("There are prompt and messages, which are two names of one field. Leave one of them out.")
    if not isinstance(messages, list):
        raise RequestError(f'messages is {_shown(messages)}; give a list of {{"role", "content"}}.')
    return {**rest, "prompt": messages}


def _wrong_type(fields: Fields, error: str) -> str:
    """Message of msgspec with the offending value and the expected one."""
    found = re.search(r" - at `\$\.(\w+)", error)
    if found is None:
        return f"{error}."
    name = found[1]
    what, _, rest = error.partition(f" - at `$.{name}")
    give = f"; give {GIVE[name]}" if name in GIVE else ""
    return f"{name}{rest.rstrip('`')} is wrong: {what}. {name} is {_shown(fields[name])}{give}."


def _prompt(prompt: str | list[Any], policy: Policy) -> Content | list[Message]:
    if isinstance(prompt, str):
        return prompt
    turns = [isinstance(one, dict) and "role" in one for one in prompt]
    if not any(turns):
        if not prompt:
            raise RequestError("prompt is an empty list; give a text, a list of parts, or a conversation.")
        return _content(prompt, "prompt", policy)
    if not all(turns):
        place = turns.index(False)
        raise RequestError(
            f"prompt[{place}] is {_shown(prompt[place])}, but others are turns of a conversation; give "
            '{"role": ..., "content": ...} for each.'
        )
    if ends_with_an_answer(prompt):
        raise RequestError(
            "The conversation ends with the assistant's turn. What is scored goes into responses; end it with the "
            "user's turn."
        )
    return [_message(turn, f"prompt[{k}]", policy) for k, turn in enumerate(prompt)]


def _message(turn: Mapping[str, Any], name: str, policy: Policy) -> Message:
    given = {key: value for key, value in turn.items() if value is not None}
    if wrong := given.keys() - {"role", "content"}:
        raise RequestError(f"{name} has {_listed(wrong)}; a turn has role and content and nothing else.")
    role = given.get("role")
    if not isinstance(role, str) or role not in ROLES:
        meant = ROLES_ELSEWHERE.get(str(role).lower())
        raise RequestError(
            f"{name}.role is {_shown(role)}; give {f'{meant!r}' if meant else 'system, user or assistant'}."
        )
    if "content" not in given:
        raise RequestError(f"{name} has no content; give a text, or a list of parts.")
    return Message(ROLES[role], _content(given["content"], f"{name}.content", policy))


def _content(content: object, name: str, policy: Policy) -> Content:
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return _part(cast("Mapping[str, Any]", content), name, policy)
    if not isinstance(content, list):
        raise RequestError(f"{name} is {_shown(content)}; give a text, or a list of parts.")
    parts = cast("list[Any]", content)
    return [part if isinstance(part, str) else _part(part, f"{name}[{k}]", policy) for k, part in enumerate(parts)]


def _part(part: Mapping[str, Any], name: str, policy: Policy) -> str | Image | Video:
    """Normalise a part that is written as elsewhere.

    Null fields, which tables write for fields of other parts, are dropped.
    """
    if not isinstance(part, dict):
        raise RequestError(f"{name} is {_shown(part)}; give a text, or an object with a type.")
    if "role" in part:
        raise RequestError(f"{name} is a turn of a conversation; give its content alone, a text or a list of parts.")
    if "from" in part and "value" in part:
        raise RequestError(
            f"{name} is a turn with from and value; write it as role (human is user, gpt is assistant) and content."
        )
    given = {key: value for key, value in part.items() if value is not None}
    kind = given.pop("type", None)
    if not isinstance(kind, str) or kind not in VALUES:
        raise RequestError(
            f"{name}.type is {_shown(kind)}; a part is a text, or an object whose type is text, image, image_url, "
            "video or video_url."
        )
    if given.get("detail") in ("auto", "high"):  # as clients of OpenAI's API add it
        del given["detail"]
    times = {key: given.pop(key) for key in TIMES if key in given and kind.startswith("video")}
    named = VALUES[kind]
    if wrong := given.keys() - set(named):
        meant = nearest(min(wrong), (*named, *TIMES)) if len(wrong) == 1 else None
        raise RequestError(
            f"{name} has {_listed(wrong)}, which a part of the type {kind!r} has not"
            + (f"; did you mean {meant!r}?" if meant else f"; it has {' or '.join(named)}.")
        )
    if not given and kind in ("image", "video"):
        return Image() if kind == "image" else Video(None, *_times(times, f"{name}."))
    if len(given) != 1:
        raise RequestError(f"{name} has {_listed(given) if given else 'nothing to show'}; give {' or '.join(named)}.")
    ((key, value),) = given.items()
    return _shown_part(kind, value, times, f"{name}.{key}", policy)


def _shown_part(kind: str, value: Any, times: Mapping[str, Any], name: str, policy: Policy) -> str | Image | Video:
    if "text" in kind:
        if not isinstance(value, str):
            raise RequestError(f"{name} is {_shown(value)}; give a text.")
        return value
    if name.endswith("_url") and isinstance(value, dict):
        record = {
            k: v
            for k, v in cast("Fields", value).items()
            if v is not None and (k, v) not in (("detail", "auto"), ("detail", "high"))
        }
        if record.keys() != {"url"}:
            raise RequestError(f"{name} has {_listed(record) if record else 'nothing'}; give url and nothing else.")
        value, name = record["url"], f"{name}.url"
    if name.endswith(".base64") and isinstance(value, str):
        value = {"bytes": value}
    if "image" in kind:
        return Image(policy.image(value, name))
    where = name.removesuffix(".url").rpartition(".")[0]
    return Video(policy.video(value, name), *_times(times, f"{where}."))


def _times(of: Mapping[str, object], where: str) -> tuple[float | None, list[float] | None]:
    """Frame rate, or times of the frames in seconds."""
    given = [name for name in TIMES if of.get(name) is not None]
    if len(given) > 1:
        raise RequestError(f"There are {where}{given[0]} and {given[1]}, which say the same. Leave one of them out.")
    for name in ("seconds_between_frames", "fps"):
        value = of.get(name)
        if value is None:
            continue
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
        if not 0 < number < math.inf or not 0 < 1 / number < math.inf:
            raise RequestError(f"{where}{name} is {_shown(value)}; give a number above 0.")
        return (1 / number if name == "seconds_between_frames" else number), None
    timestamps = of.get("timestamps")
    if timestamps is None:
        return None, None
    try:
        seconds = msgspec.convert(timestamps, list[float])
    except msgspec.ValidationError:
        raise RequestError(f"{where}timestamps is {_shown(timestamps)}; give {GIVE['timestamps']}.") from None
    return None, seconds


def _listed(names: Sequence[str] | Mapping[str, Any] | set[str]) -> str:
    return shorten(", ".join(repr(name) for name in sorted(names)), 120)


def _shown(value: object) -> str:
    return shorten(repr(value), 60)
