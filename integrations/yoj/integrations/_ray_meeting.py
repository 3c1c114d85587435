"""Meeting point in a named actor of Ray, where the samples of a group that many workers hold come together."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._group import GroupReward
from ._judge import JudgeLike
from ._meeting import MeetingPoint
from ._meeting_table import GroupSample, MeetingError, MeetingSettings, Met
from ._settings import RewardSettings

RESTARTS = 3
"""Times that Ray starts an actor again whose process has died, and sends again what waited there. A group that kills
the process, as one may for want of memory, must not do so for ever."""


class MeetingActor:
    """Meeting point in an actor, and the judge behind it."""

    def __init__(self, judge: str | Path | JudgeLike, settings: RewardSettings, meeting: MeetingSettings):
        reward = GroupReward(judge, settings)
        _ = reward.judge  # opened now: one that cannot be is told to who starts the actor, not to the first group
        self._about = (_name_of(judge), settings, meeting)
        self._meeting = MeetingPoint(reward.rewards, meeting)

    async def reward(self, key: str, size: int, sample: GroupSample) -> Met:
        """Reward of a sample, as soon as its group is whole; see `MeetingPoint.submit`."""
        return await asyncio.wrap_future(await asyncio.to_thread(self._meeting.submit, key, size, sample))

    async def about(self) -> tuple[str, RewardSettings, MeetingSettings]:
        """Name of the judge, settings of the rewards and settings of the meeting point."""
        return self._about

    async def waiting(self) -> int:
        """Number of samples that wait; see `MeetingPoint.waiting`."""
        return self._meeting.waiting


def meeting_actor(
    name: str,
    judge: str | Path | JudgeLike,
    settings: RewardSettings | None = None,
    meeting: MeetingSettings | None = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Get the named actor, or start it where there is none.

    Where it does not start, such as for a judge that cannot be opened, Ray raises its own ``RayActorError``, whose text
    ends with the judge's.

    >>> actor = meeting_actor("judge", "judge.yoj")
    >>> met = await actor.reward.remote(uid, 8, GroupSample(k, "What is shown?", response, images=[picture]))
    >>> met.reward

    Args:
        name: name of the actor in its namespace.
        judge: a bundle's folder, the URL of a server, or a judge; see `GroupReward`.
        settings: settings of the rewards; None for the default ones.
        meeting: settings of the meeting point; None for the default ones.
        options: Ray's options for the actor, such as ``num_gpus``.

    Returns:
        Handle of the actor, which lives as long as the process that started it holds one. Its methods are those of
        `MeetingActor`.

    Raises:
        MeetingError: the actor is there already, with another judge or other settings.
    """
    ray: Any = importlib.import_module("ray")  # no part of yoj needs it
    settings, meeting = settings or RewardSettings(), meeting or MeetingSettings()
    actor = (
        ray.remote(MeetingActor)
        .options(
            name=name,
            get_if_exists=True,
            # Samples that wait hold a place of these: with fewer the last ones of a group could not come in.
            max_concurrency=meeting.max_samples + 100,
            max_restarts=RESTARTS,
            max_task_retries=RESTARTS,
            **(options or {}),
        )
        .remote(judge, settings, meeting)
    )
    asked = (_name_of(judge), settings, meeting)
    if (found := ray.get(actor.about.remote())) != asked:
        raise MeetingError(
            f"The actor {name!r} is there with {', '.join(map(str, found))}; asked for was "
            f"{', '.join(map(str, asked))}. Give it another name, or the same settings."
        )
    return actor


def _name_of(judge: str | Path | JudgeLike) -> str:
    """Text by which the judges of two processes are compared."""
    if isinstance(judge, str) and "://" in judge:
        return judge.rstrip("/")
    if isinstance(judge, str | Path):
        return os.path.normpath(judge)
    # Most objects are shown with their address, which says nothing in another process.
    return repr(judge) if type(judge).__repr__ is not object.__repr__ else type(judge).__qualname__
