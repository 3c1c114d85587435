"""Tiers of tests: what `make test` leaves to `make test-all`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def with_variants(values: Sequence[Any], always: int = 1) -> list[Any]:
    """Parameters of a test, of which `make test` runs the first and `make test-all` all.

    Args:
        values: values, or tuples of values, of which the later ones go the same ways through the code as the first.
        always: number of values that are no variants.
    """
    rest = [value if isinstance(value, tuple) else (value,) for value in values[always:]]
    return [*values[:always], *(pytest.param(*value, marks=pytest.mark.thorough) for value in rest)]
