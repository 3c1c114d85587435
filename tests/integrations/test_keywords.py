"""Settings from the configuration of a framework."""

from __future__ import annotations

import pytest

from yoj.integrations import MeetingError, MeetingSettings, RewardSettings
from yoj.integrations._keywords import settings_from
from yoj.runtime import RequestError


def test_names_and_values_are_those_of_the_settings():
    assert settings_from(RewardSettings, {"orders": 2, "reward": "rank"}, "x") == RewardSettings("rank", 2)
    assert settings_from(MeetingSettings, None, "x") == MeetingSettings()


def test_an_unknown_name_is_refused():
    with pytest.raises(RequestError) as error:
        settings_from(MeetingSettings, {"time": 3, "partial": "fail", "b": 1}, "reward.reward_kwargs.meeting")
    assert str(error.value).startswith("reward.reward_kwargs.meeting has b, time, which nothing reads; give timeout,")


def test_a_value_that_cannot_be_is_refused():
    with pytest.raises(RequestError, match="orders is 0; give a whole number from 1"):
        settings_from(RewardSettings, {"orders": 0}, "x")
    with pytest.raises(MeetingError, match="timeout is 0"):
        settings_from(MeetingSettings, {"timeout": 0}, "x")
