"""Kinds of values that come from trainers and servers without a type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray


def is_fields(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value has named fields."""
    return isinstance(value, Mapping)


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a list or a tuple; a text is none."""
    return isinstance(value, list | tuple)


def is_array(value: object) -> TypeGuard[NDArray[Any]]:
    """Whether a value is an array of NumPy's."""
    return isinstance(value, np.ndarray)
