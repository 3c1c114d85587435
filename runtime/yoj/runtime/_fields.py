"""Fields that a request may have, and the names that other tools give them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from .error_texts import shorten
from .errors import RequestError

CALLED = {
    "prompt": "question query instruction text input problem user user_prompt question_text",
    "responses": "answers candidates completions outputs choices options generations replies responses_list "
    "response answer candidate completion output generation reply model_answers",
    "image": "images img imgs img_path img_paths image_path image_paths image_url image_urls image_file image_files "
    "image_id image_ids images_path images_paths image_name picture pictures pic photo photos pixel_values jpg png",
    "image' or 'video": "media medium media_path media_paths media_url file files visual visuals",
    "video": "videos video_path video_paths videos_path video_url video_urls video_file video_id frames frame "
    "frame_paths frames_path video_frames clip clips movie film mp4 gif",
    "rankings": "ranking rank ranks preference preferences human_ranking",
    "seconds_between_frames": "interval frame_interval seconds_per_frame second_per_grid second_per_grid_ts",
    "timestamps": "timestamp frame_times frame_timestamps times time_stamps",
    "id": "uid uuid qid key idx index sample_id question_id prompt_id request_id custom_id",
    "metadata": "meta extra extra_info info",
}
"""Field -> other tools' names for it."""
PARTS_OF_NAMES = (
    (("fps", "nframes", "framerate"), "seconds_between_frames"),
    (("video", "frame", "movie"), "video"),
    (("image", "img", "picture", "photo", "pixel"), "image"),
    (("rank",), "rankings"),
    (("question", "prompt", "query"), "prompt"),
    (("response", "answer", "candidate", "completion"), "responses"),
)
"""Parts of names without an entry of their own -> the nearest field."""
TOLD = {
    "fps": "in the YOJO code's data it holds seconds. Give seconds_between_frames",
    "video_fps": "a video file has its own rate; of frames, give seconds_between_frames",
    "nframes": "how many frames are read is the bundle's choice; leave frames out of the list in 'video'",
    "num_frames": "how many frames are read is the bundle's choice; leave frames out of the list in 'video'",
    "video_start": "cut the file in 'video' before, for example with ffmpeg -ss",
    "video_end": "cut the file in 'video' before, for example with ffmpeg -to",
    "system": 'make \'prompt\' a conversation: [{"role": "system", "content": ...}, {"role": "user", ...}]',
    "system_prompt": 'make \'prompt\' a conversation: [{"role": "system", "content": ...}, {"role": "user", ...}]',
    "history": 'make \'prompt\' a conversation: [{"role": "user", "content": ...}, {"role": "assistant", ...}, ...]',
    "chosen": "put it with the rejected ones into 'responses', and rank 1 for it into 'rankings'",
    "rejected": "put it with the chosen one into 'responses', and a rank of 2 for it into 'rankings'",
    "conversations": "give 'prompt' as a list of {\"role\", \"content\"}, and 'responses'",
    "model": "the judge is the bundle that was loaded. Leave it out",
    "threads": "give --threads for the whole run",
    "min_pixels": "the size of pictures is the bundle's; scale the file",
    "max_pixels": "the size of pictures is the bundle's; scale the file",
}
"""Names whose content belongs into another field in another form -> what to do."""
SHOWN = 8
"""Most fields that an error lists."""
_MEANT = {"".join(c for c in name if c.isalnum()): field for field, names in CALLED.items() for name in names.split()}


def check_names(names: Iterable[str], allowed: Collection[str], known: Sequence[str]) -> None:
    """Refuse every name that is not allowed.

    Args:
        names: names of the given fields.
        allowed: names that are allowed.
        known: names that errors list.

    Raises:
        RequestError: names are not allowed; all are listed with the likely intended ones.
    """
    wrong = [name for name in names if name not in allowed]
    if not wrong:
        return
    advice = {name: _advice(name, known) for name in wrong[:SHOWN]}
    told = "".join(f"The field {shorten(name, 40)!r} is not read{said}. " for name, said in advice.items())
    told += f"Nor are {len(wrong) - SHOWN} more. " if len(wrong) > SHOWN else ""
    told += f"Known are {', '.join(known)}. " if "" in advice.values() else ""
    options = " ".join(f"--ignore-field {shorten(name, 40)}" for name in wrong[:SHOWN])
    raise RequestError(
        f"{told}What is no part of the request goes into metadata. Of a file, yoj-score passes it over with {options}, "
        "and a training with ignore_fields in its recipe."
    )


def _advice(name: str, known: Collection[str]) -> str:
    if name.lower() in TOLD:
        return f": {TOLD[name.lower()]}"
    meant = nearest(name, known)
    return f"; it is called '{meant}' here" if meant else ""


def nearest(name: str, known: Collection[str]) -> str | None:
    """Known field that a name most likely means."""
    from difflib import get_close_matches

    plain = "".join(c for c in name.lower() if c.isalnum())
    same = next((field for field in known if field.replace("_", "") == plain), None)
    meant = same or _MEANT.get(plain)
    if meant is None:
        close = get_close_matches(name.lower(), list(known), 1, 0.75)
        parts = (field for parts, field in PARTS_OF_NAMES if any(part in plain for part in parts))
        meant = close[0] if close else next(parts, None)
    return meant if meant is None or meant.partition("'")[0] in known else None


def check_complete(fields: Mapping[str, Any]) -> None:
    """Refuse fields without a prompt or responses, and say how data of another form become requests.

    Raises:
        RequestError: fields are missing; the text names the other form where it is known.
    """
    missing = [name for name in ("prompt", "responses") if fields.get(name) is None]
    if missing:
        other = _other_form(fields)
        other = other or "Give a question in prompt and a list in responses."
        raise RequestError(f"The request has no {' and no '.join(missing)}. {other}")


def _other_form(fields: Mapping[str, Any]) -> str | None:
    """Conversion advice for data of a known other form."""
    first = next((name for name in ("prompt", "question", "query", "instruction") if name in fields), "prompt")
    if "chosen" in fields and "rejected" in fields:
        return _pairs(fields, first)
    if isinstance(fields.get("conversations"), list):
        return (
            'This is a conversation of human and gpt. Make the turns {"role": "user" or "assistant", "content": '
            "...}, the last answers a list in responses, and the turns before them the prompt: jq -c '{prompt: "
            '[.conversations[:-1][] | {role: ({human: "user", gpt: "assistant"}[.from] // .from), content: .value}], '
            "responses: [.conversations[-1].value]}'"
        )
    turns = fields.get("prompt")
    if isinstance(turns, list) and ends_with_an_answer(cast("list[Any]", turns)):
        return (
            "The conversation ends with the assistant's turn, which is a response: jq -c '{prompt: .messages[:-1], "
            "responses: [.messages[-1].content]}'"
        )
    one = next(
        (n for n in ("response", "output", "answer", "completion", "text") if isinstance(fields.get(n), str)), None
    )
    if one is not None and first in fields:
        return f"{one} is one response; scores compare several: jq -c '{{prompt: .{first}, responses: [.{one}]}}'"
    names = {name: meant for name in fields if (meant := nearest(name, ("prompt", "responses"))) and name != meant}
    told = ", ".join(f"{shorten(name, 40)!r} is called {meant!r}" for name, meant in names.items())
    return f"Here {told}." if told else None


def ends_with_an_answer(turns: list[Any]) -> bool:
    """Whether a conversation includes its answer."""
    last = turns[-1] if turns else None
    return isinstance(last, dict) and cast("dict[str, Any]", last).get("role") == "assistant"


def _pairs(fields: Mapping[str, Any], first: str) -> str:
    told = "This is a pair of a chosen and a rejected response"
    if isinstance(fields["chosen"], str):
        return f"{told}: jq -c '{{prompt: .{first}, responses: [.chosen, .rejected], rankings: [1, 2]}}'"
    return (
        f"{told}, each at the end of a conversation: jq -c '{{prompt: .chosen[:-1], responses: [.chosen[-1].content, "
        ".rejected[-1].content], rankings: [1, 2]}'"
    )
