"""Errors of a server, and the HTTP status and kind of every error."""

from __future__ import annotations

from dataclasses import dataclass

from yoj.runtime.errors import (
    EngineError,
    EngineMemoryError,
    LengthError,
    LimitError,
    MediaError,
    RequestError,
    YojError,
)


class ServingError(YojError, RuntimeError):
    """Request that a server does not answer, whatever its content."""


class OverloadedError(ServingError):
    """Request over the capacity of the server."""

    def __init__(self, text: str, retry_after: int = 1):
        super().__init__(text)
        self.retry_after = retry_after
        """Seconds after which the caller may try again."""


class DrainingError(OverloadedError):
    """Request to a server that is shutting down or not ready yet."""


class DeadlineError(ServingError, TimeoutError):
    """Request whose time was over before it was scored."""


class AccessError(ServingError, PermissionError):
    """Request without a valid API key."""


class UnknownModelError(ServingError, LookupError):
    """Request for a model that is not served here."""


class GroupError(ServingError, ValueError):
    """Sample that contradicts what came before of its group."""


class BodyError(ServingError, ValueError):
    """Body of a request that is too large, or arrives too slowly."""


class EncodingError(BodyError):
    """Body of a request that is compressed."""


@dataclass(frozen=True)
class Answer:
    """HTTP answer to an error."""

    status: int
    kind: str
    """Value of the field ``type``, and of the label ``kind`` in metrics."""


ANSWERS: dict[type[Exception], Answer] = {
    DrainingError: Answer(503, "draining"),
    OverloadedError: Answer(429, "overloaded"),
    DeadlineError: Answer(504, "deadline"),
    AccessError: Answer(401, "access"),
    UnknownModelError: Answer(404, "unknown_model"),
    GroupError: Answer(409, "group"),
    EncodingError: Answer(415, "encoding"),
    BodyError: Answer(413, "body"),
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


def answer_of(error: BaseException) -> Answer:
    """Find the answer of an error by its class."""
    return next(ANSWERS[base] for base in type(error).__mro__ if base in ANSWERS)
