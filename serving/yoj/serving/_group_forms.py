"""Bodies that bring one sample of a group: yoj's own form, and that of OpenRLHF's ``--reward.remote_url``.

OpenRLHF's were compared with ``openrlhf/utils/agent.py`` of version 0.11: one sample for each POST, in lists of length
one; 180 s and five tries; no id of the sample; and from the answer the numbers ``rewards`` and ``scores``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

from yoj.integrations import RewardedGroup
from yoj.runtime import Request
from yoj.runtime.codec import Line, to_line, to_request
from yoj.runtime.error_texts import shorten
from yoj.runtime.errors import RequestError
from yoj.runtime.strict_json import Fields, check_values, parse_object

from ._work import Rules, check_model

SampleId: TypeAlias = str | int
SHARED = ("prompt", "messages", "image", "video", "seconds_between_frames", "timestamps", "placeholders")
"""Fields of a request that a sample may have beside its response; all others hold for all groups of a server."""
REPEATED = re.compile(r"(<\|[^|<>]+\|>)\1+")
"""Copies of one special token in a row, such as the places of a picture's tokens."""
END = re.compile(r"(\s*(<\|(im_end|endoftext|eot_id|end_of_text)\|>|</s>|<end_of_turn>))+\s*\Z")
"""Special tokens that end an answer."""


@dataclass
class Arriving:
    """Sample of a body, and the group that it belongs to."""

    group: str
    size: int
    sample: SampleId | None
    """None where the form has no name for it."""
    request: Request | None
    """Request with the one response; None once it was handed over."""
    answer: Callable[[float, int, RewardedGroup], dict[str, Any]]
    """Function from the reward, the place in the group, and the group to the body of the answer."""
    digest: str = ""
    """Digest of the response where the sample has no name."""

    @property
    def requests(self) -> Sequence[Request]:
        """The request, for who reads bodies with several."""
        return () if self.request is None else (self.request,)

    def hand_over(self) -> Request:
        """The request, which is forgotten here: media of thousands of callers who wait would fill the memory."""
        assert self.request is not None
        request, self.request = self.request, None
        return request


ReadSample: TypeAlias = Callable[[bytes, Rules], Arriving]


def read_sample(body: bytes, rules: Rules) -> Arriving:
    """Read the body of ``/v1/groups``: ``{"group", "size", "sample", "prompt", "response"}`` and media."""
    fields = parse_object(body)
    check_model(fields, rules)
    if fields.get("sample") is None:
        raise RequestError('There is no sample. Give its name in the group, such as "sample": 0.')
    return _arriving(fields, fields.pop("response", None), rules, own_answer)


def read_openrlhf(body: bytes, rules: Rules) -> Arriving:
    """Read the body of OpenRLHF: ``{"query": [text], "prompts": [text], "labels": [label]}``.

    The label is the JSON of the fields that ``/v1/groups`` takes, without the response, which is the query's part
    behind the prompt.
    """
    fields = parse_object(body)
    check_values(fields)
    query, prompt, label = (_only(fields, name) for name in ("query", "prompts", "labels"))
    try:
        about = parse_object(label.encode()) if isinstance(label, str) else _object(label)
    except RequestError as error:
        raise RequestError(f"labels[0] is {shorten(repr(label))}; {LABEL}. {error}") from error
    response = response_of(str(query), str(prompt))
    arriving = _arriving(about, response, rules, openrlhf_answer)
    return replace(arriving, digest=hashlib.sha256(response.encode()).hexdigest()[:16])


LABEL = 'give the JSON of {"group": ..., "size": ..., "prompt": ...} in the label column of the dataset'


def _only(fields: Fields, name: str) -> object:
    given: object = fields.get(name)
    listed = cast("list[object]", given) if isinstance(given, list) else []
    if len(listed) != 1:
        raise RequestError(
            f"{name} is {shorten(repr(cast('object', given)))}; give a list with one entry, as OpenRLHF does."
        )
    return listed[0]


def _object(label: object) -> Fields:
    if not isinstance(label, dict):
        raise RequestError("It is no object.")
    return cast("Fields", label)


def response_of(query: str, prompt: str) -> str:
    """Response in a decoded conversation.

    Args:
        query: text of all tokens, those of the prompt's pictures and of the end included.
        prompt: the prompt as the trainer's chat template renders it, in which a picture has one token.

    Raises:
        RequestError: the query does not begin with the prompt.
    """
    if not query.startswith(prompt):
        query, prompt = REPEATED.sub(r"\1", query), REPEATED.sub(r"\1", prompt)
    if not query.startswith(prompt):
        raise RequestError(
            f"The query does not begin with the prompt, so that nothing tells where the response begins: "
            f"{shorten(repr(query), 80)} against {shorten(repr(prompt), 80)}. The trainer cuts prompts that are too "
            "long; give it room for them."
        )
    return END.sub("", query[len(prompt) :])


def _arriving(
    fields: Fields, response: object, rules: Rules, answer: Callable[[float, int, RewardedGroup], dict[str, Any]]
) -> Arriving:
    group, size, sample = (fields.get(name) for name in ("group", "size", "sample"))
    if not isinstance(group, str) or not group:
        raise RequestError(f"group is {shorten(repr(group))}; give the group's key, a text.")
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise RequestError(f"size is {shorten(repr(size))}; give the number of the group's samples.")
    if isinstance(sample, bool) or not isinstance(sample, str | int | None):
        raise RequestError(f"sample is {shorten(repr(sample))}; give its name in the group, a text or a whole number.")
    if response is None:
        raise RequestError("There is no response. Give the sample's text, or a list of its parts.")
    rest = {name: value for name, value in fields.items() if name not in ("group", "size", "sample")}
    if wrong := sorted(rest.keys() - set(SHARED)):
        raise RequestError(
            f"A sample has no {shorten(', '.join(map(repr, wrong)), 120)}; it has group, size, sample, response, "
            f"{', '.join(SHARED)}. How groups are read and rewarded, the options of the server say."
        )
    line = to_line({**rest, "responses": [response]}, Line, rules.reading.ignore)
    return Arriving(group, size, sample, to_request(line, rules.reading), answer)


def own_answer(reward: float, place: int, group: RewardedGroup) -> dict[str, Any]:
    """Answer of ``/v1/groups``."""
    fields = {name: value for name, value in vars(group).items() if name != "error"}
    return {"reward": reward, "place": place, "group": fields}


def openrlhf_answer(reward: float, place: int, group: RewardedGroup) -> dict[str, Any]:
    """Answer to OpenRLHF, which logs the means of what stands in ``extra_logs``."""
    logs = {"yoj_mean": group.mean, "yoj_spread": group.spread, "yoj_flat": float(group.flat)}
    spread = group.order_spread
    logs |= {"yoj_cut": float(any(cut.response == place for cut in group.cuts))}
    logs |= {} if spread is None else {"yoj_order_spread": spread[place]}
    return {"rewards": reward, "scores": reward, "extra_logs": logs}
