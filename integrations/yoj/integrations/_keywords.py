"""Settings as frameworks hand them over: mappings from their own configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from yoj.runtime import RequestError

from ._meeting_table import MeetingSettings
from ._settings import RewardSettings

Settings = TypeVar("Settings", RewardSettings, MeetingSettings)


def settings_from(kind: type[Settings], given: Mapping[str, Any] | None, where: str) -> Settings:
    """Settings from a mapping of their names.

    Args:
        kind: class of the settings.
        given: names and values; None for the default ones.
        where: name of the mapping in the framework, for errors.

    Raises:
        RequestError: a name is unknown, or a value cannot be.
        MeetingError: a value of a meeting's settings cannot be.
    """
    known = [field.name for field in fields(kind)]
    check_names(given or {}, known, where)
    return kind(**(given or {}))


def check_names(given: Mapping[str, Any], known: list[str], where: str) -> None:
    """Refuse names that nothing would read.

    Raises:
        RequestError: a name is unknown.
    """
    if unknown := sorted(given.keys() - set(known)):
        raise RequestError(f"{where} has {', '.join(unknown)}, which nothing reads; give {', '.join(known)}.")
