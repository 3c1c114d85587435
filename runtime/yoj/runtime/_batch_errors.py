"""Errors of requests that are scored together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .batch import Prepared
from .error_texts import retold
from .errors import RequestError, ScoreError, YojError
from .families import Arrays
from .manifest import EngineEntry

OnError = Literal["raise", "return"]


def check_on_error(on_error: OnError) -> None:
    """Check a caller's choice.

    Raises:
        RequestError: it is none.
    """
    if on_error not in get_args(OnError):
        raise RequestError(f"on_error is {on_error!r}; give 'raise' or 'return'.")


def named(error: YojError, index: int, count: int) -> YojError:
    """Copy of an error that says which request of a batch it is about."""
    return error if count == 1 else retold(error, f"requests[{index}]: {error}")


def not_finite(values: Arrays, prepared: Prepared, engine: EngineEntry) -> ScoreError | None:
    """Error of a request for which the engine returned what is no score, each output [k, N] or [k, N, J]."""
    if all(_finite(values_KN, prepared.orders) for values_KN in values.values()):
        return None
    returned = ", ".join(f"{name} {values_KN.tolist()}" for name, values_KN in values.items())
    return ScoreError(
        f"The engine {engine.engine} {engine.precision} returned {returned} for a request of {prepared.tokens} tokens. "
        "Try another precision, and check the bundle with yoj-export verify."
    )


def _finite(values_KN: NDArray[np.float32], orders: Sequence[Sequence[int]]) -> bool:
    """Whether all values of responses are; a row may have fewer of them than others."""
    return all(np.isfinite(values_N[: len(order)]).all() for values_N, order in zip(values_KN, orders, strict=True))
