"""Answers of servers to errors: the HTTP status, and the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import EngineError, EngineMemoryError, LengthError, LimitError, MediaError, RequestError, YojError


@dataclass(frozen=True)
class Answer:
    """HTTP answer to an error."""

    status: int
    kind: str
    """Value of the field ``type``, and of the label ``kind`` in metrics."""


ANSWERS: Mapping[type[Exception], Answer] = {
    LengthError: Answer(400, "length"),
    LimitError: Answer(400, "limit"),
    MediaError: Answer(400, "media"),
    RequestError: Answer(400, "request"),
    EngineMemoryError: Answer(503, "memory"),
    EngineError: Answer(500, "engine"),
    YojError: Answer(500, "internal"),
    Exception: Answer(500, "internal"),
}
"""Error -> its answer; an error whose class is not here has that of its nearest base class."""


def answer_of(error: BaseException, answers: Mapping[type[Exception], Answer] = ANSWERS) -> Answer:
    """Find the answer of an error by its class.

    Args:
        error: the error.
        answers: answers of a server that has errors of its own.
    """
    return next(answers[base] for base in type(error).__mro__ if base in answers)


def error_fields(error: BaseException, answer: Answer) -> dict[str, Any]:
    """Fields of an error, as OpenAI's and vLLM's servers have them. What is no error of yoj's shows nothing."""
    shown = str(error) if isinstance(error, YojError) else "The server failed. Its log says why."
    # A text of the request that is no Unicode may stand in it.
    return {
        "message": shown.encode(errors="backslashreplace").decode(),
        "type": answer.kind,
        "param": None,
        "code": answer.status,
    }
