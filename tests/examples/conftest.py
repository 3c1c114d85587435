"""Bundles that ``make demo`` exports too."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def judge(bundle) -> str:
    """Bundle of the judge of answers about scenes."""
    return str(bundle("shapes", "assistant"))


@pytest.fixture(scope="session")
def edits_judge(bundle) -> str:
    """Bundle of the judge of edits."""
    return str(bundle("edits", "assistant"))
