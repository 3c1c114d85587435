"""Version of yoj, read by the package's build, the commands and the check of a bundle's oldest reader."""

from __future__ import annotations

import re

__version__ = "0.2.0"


def release(version: str) -> tuple[int, int, int]:
    """Major, minor and patch number of a version, without the mark of a pre-release or a build.

    Raises:
        ValueError: the text does not begin with three numbers.
    """
    found = re.match(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(?![0-9])", version)
    if found is None:
        raise ValueError(f"{version!r} is no version such as {__version__!r}")
    major, minor, patch = (int(number) for number in found.groups())
    return major, minor, patch
