"""Errors of a server, and the HTTP status and kind of every error."""

from __future__ import annotations

from collections.abc import Mapping

from yoj.runtime import answers
from yoj.runtime.answers import Answer
from yoj.runtime.errors import YojError


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


ANSWERS: Mapping[type[Exception], Answer] = {
    **answers.ANSWERS,
    DrainingError: Answer(503, "draining"),
    OverloadedError: Answer(429, "overloaded"),
    DeadlineError: Answer(504, "deadline"),
    AccessError: Answer(401, "access"),
    UnknownModelError: Answer(404, "unknown_model"),
    GroupError: Answer(409, "group"),
    EncodingError: Answer(415, "encoding"),
    BodyError: Answer(413, "body"),
}
"""Error -> its answer; see `yoj.runtime.answers.ANSWERS`."""


def answer_of(error: BaseException) -> Answer:
    """Find the answer of an error by its class."""
    return answers.answer_of(error, ANSWERS)
