"""One place says the version of yoj."""

from __future__ import annotations

import pytest

import yoj.runtime
from yoj.runtime.version import release


def test_the_version_is_public():
    assert release(yoj.runtime.__version__) >= (0, 2, 0)


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("0.2.0", (0, 2, 0)), ("10.20.30", (10, 20, 30)), ("1.0.0rc1", (1, 0, 0)), ("0.3.0.dev1+g12", (0, 3, 0))],
)
def test_a_version_is_compared_by_its_three_numbers(version, numbers):
    assert release(version) == numbers


@pytest.mark.parametrize("version", ["", "1", "1.2", "a.b.c", " 1.2.3", "1.2.", "1.2.1234567890"])
def test_what_is_no_version_is_refused(version):
    with pytest.raises(ValueError, match="no version"):
        release(version)
