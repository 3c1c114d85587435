"""Judges as the reward of trainers: the responses of one prompt in one pass.

>>> from yoj.integrations import GroupReward
>>> from yoj.runtime import Request
>>> GroupReward("judge.yoj").rewards([Request("What is shown?", ["A cat.", "Two dogs."], images=["photo.jpg"])])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoj.runtime.lazy import lazily

if TYPE_CHECKING:
    from ._meeting import MeetingPoint
    from ._meeting_table import MeetingError, MeetingSettings, Sample

__all__ = ["MeetingError", "MeetingPoint", "MeetingSettings", "Sample"]

__getattr__ = lazily(
    __name__,
    {
        "MeetingError": "._meeting_table",
        "MeetingPoint": "._meeting",
        "MeetingSettings": "._meeting_table",
        "Sample": "._meeting_table",
    },
)
