"""Work of one HTTP request: requests for the scorer that its body holds, and the answer that judgements make."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import msgspec

from yoj.runtime import Judgement, Reading, Request, YojError, answers, decode_request, encode_judgement
from yoj.runtime.codec import Line, to_line, to_request
from yoj.runtime.error_texts import shorten
from yoj.runtime.errors import RequestError
from yoj.runtime.strict_json import Fields, parse_object

from ._errors import UnknownModelError, answer_of

Results: TypeAlias = Sequence[Judgement | YojError]


@dataclass(frozen=True)
class Work:
    """Requests for the scorer, and what their judgements make."""

    requests: Sequence[Request | YojError]
    answer: Callable[[Results], Any]
    """Function from the results, one for each request, to the body of the answer, which JSON can hold."""


@dataclass(frozen=True)
class Rules:
    """Rules by which bodies are read."""

    reading: Reading
    model: str
    """Name of the model that is served."""
    max_requests: int
    """Most requests of one body."""


Read: TypeAlias = Callable[[bytes, Rules], Work]


def read_judge(body: bytes, rules: Rules) -> Work:
    """Read the body of ``/v1/judge``: one request of the codec."""
    return Work([decode_request(body, rules.reading)], lambda results: encode_judgement(only(results)))


def read_judge_batch(body: bytes, rules: Rules) -> Work:
    """Read the body of ``/v1/judge/batch``: ``{"requests": [...]}``. One that fails has its error in its place."""
    fields = parse_object(body)
    listed = fields.pop("requests", None)
    if fields or not isinstance(listed, list):
        wrong = f"has the fields {sorted(fields)}" if fields else "has no list of requests"
        raise RequestError(f'The body {wrong}; give {{"requests": [...]}} and nothing else.')
    return Work(
        [_one(line, k, rules) for k, line in enumerate(check_count(cast("list[Any]", listed), rules))], _results
    )


def _one(line: Any, place: int, rules: Rules) -> Request | YojError:
    if not isinstance(line, dict):
        return RequestError(f"requests[{place}] is no object; give a request with prompt and responses.")
    try:
        return to_request(to_line(cast("Fields", line), Line, rules.reading.ignore), rules.reading)
    except YojError as error:
        return error


def _results(results: Results) -> dict[str, Any]:
    return {
        "results": [
            {"error": error_fields(one)} if isinstance(one, YojError) else encode_judgement(one) for one in results
        ]
    }


def check_count(listed: list[Any], rules: Rules) -> list[Any]:
    """Refuse a list of requests that is empty or too long.

    Raises:
        RequestError: the list has no entry, or more than a body may hold.
    """
    if not 0 < len(listed) <= rules.max_requests:
        raise RequestError(f"The body holds {len(listed)} requests; give from 1 to {rules.max_requests}.")
    return listed


def only(results: Results) -> Judgement:
    """The judgement of a body with one request.

    Raises:
        YojError: the request failed.
    """
    (one,) = results
    if isinstance(one, YojError):
        raise one
    return one


def error_fields(error: BaseException) -> dict[str, Any]:
    """Fields of an error; see `yoj.runtime.answers.error_fields`."""
    return answers.error_fields(error, answer_of(error))


def check_model(fields: Fields, rules: Rules) -> None:
    """Refuse another model than the one that is served. Null or no name means that one.

    Raises:
        UnknownModelError: the name is another one.
    """
    name = fields.pop("model", None)
    if name not in (None, rules.model):
        raise UnknownModelError(
            f"The model {shorten(repr(name), 80)} is not served here; the one that is has the name {rules.model!r}."
        )


def object_id(prefix: str) -> str:
    """A new id for an answer."""
    return f"{prefix}-{uuid.uuid4().hex}"


def now() -> int:
    """Seconds since 1970, as answers give them."""
    return int(time.time())


def encode(value: Any) -> bytes:
    """Encode an answer as JSON."""
    return msgspec.json.encode(value)
