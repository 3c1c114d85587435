"""Judges as the reward of trainers: the responses of one prompt in one pass.

>>> from yoj.integrations import GroupReward
>>> from yoj.runtime import Request
>>> GroupReward("judge.yoj").rewards([Request("What is shown?", ["A cat.", "Two dogs."], images=["photo.jpg"])])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoj.runtime.lazy import lazily

from ._settings import RewardSettings

if TYPE_CHECKING:
    from ._group import GroupReward, RewardedGroup
    from ._meeting import MeetingPoint
    from ._meeting_table import GroupSample, MeetingError, MeetingSettings, Met
    from ._remote import RemoteError, RemoteJudge
    from ._score_batch import RowScoring, ScoreBatch

__all__ = [
    "GroupReward",
    "GroupSample",
    "MeetingError",
    "MeetingPoint",
    "MeetingSettings",
    "Met",
    "RemoteError",
    "RemoteJudge",
    "RewardSettings",
    "RewardedGroup",
    "RowScoring",
    "ScoreBatch",
]

__getattr__ = lazily(
    __name__,
    {
        "GroupReward": "._group",
        "MeetingError": "._meeting_table",
        "MeetingPoint": "._meeting",
        "MeetingSettings": "._meeting_table",
        "Met": "._meeting_table",
        "RemoteError": "._remote",
        "RemoteJudge": "._remote",
        "RewardedGroup": "._group",
        "RowScoring": "._score_batch",
        "ScoreBatch": "._score_batch",
        "GroupSample": "._meeting_table",
    },
)
