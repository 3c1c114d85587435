"""Meeting point: samples of a group that arrive one by one wait for each other, and are scored in one pass."""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Self, SupportsIndex, cast

from yoj.runtime import Request
from yoj.runtime.error_texts import reason

from ._group import RewardedGroup
from ._meeting_table import (
    Answer,
    Failure,
    Group,
    GroupSample,
    MeetingError,
    MeetingSettings,
    MeetingTable,
    Met,
    arrival,
)

GROUPS_PER_CALL = 16
"""Most groups that are scored in one call: enough for full batches, and few enough that those who wait are answered
while others are scored."""
CLOSED = "The meeting point was closed before the group was whole. Send all samples of the group to another one."


class MeetingPoint:
    """Groups that fill, the thread that scores them, and those who wait for their rewards.

    >>> meeting = MeetingPoint(GroupReward("judge.yoj").rewards)
    >>> samples = [GroupSample(k, "What is shown?", text) for k, text in enumerate(["A cat.", "Two dogs."])]
    >>> futures = [meeting.submit("step 1, prompt 7", 2, sample) for sample in samples]
    >>> futures[0].result().reward

    Every sample that is submitted is answered, with a reward or with a `MeetingError`: at the latest when its group's
    time is over and the judge has answered. All methods may be called from any thread.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Request]], Sequence[RewardedGroup]],
        settings: MeetingSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Make a meeting point. Its thread begins with the first sample.

        Args:
            score: function that rewards whole groups, in their order, such as `GroupReward.rewards`.
            settings: settings; None for the default ones.
            clock: seconds that never go back.
        """
        self._score = score
        self._clock = clock
        self._changed = threading.Condition()  # the table is read and written under it
        self._table = MeetingTable(settings or MeetingSettings())
        self._thread: threading.Thread | None = None

    def submit(self, key: str, size: int, sample: GroupSample) -> Future[Met]:
        """Add a sample to its group.

        The same sample may be submitted again, while its group waits and after it was scored, and gets the same
        reward. Each call has a future of its own; one that is cancelled leaves the sample where it is, since the
        others of the group need it.

        Args:
            key: name of the group, which no other group has: not the same prompt in another step either.
            size: number of samples of the group, from 1.
            sample: the sample.

        Returns:
            Future of the reward. Its exception is a `MeetingError`, whose ``reason`` says why there is none, and whose
            cause is the judge's error where the judge failed.

        Raises:
            MeetingError: the key is no text, the size no whole number from 1, or the sample's id neither of both.
            MediaError: the sample holds what cannot be compared, such as an open file.
        """
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise MeetingError(f"The key of a group is {key!r}; give a text.")
        count, number = _whole(size), _whole(sample.id)
        if count is None or count < 1:
            raise MeetingError(f"The size of group {key!r} is {size!r}; give the number of its samples.")
        if number is None and not isinstance(sample.id, str):
            raise MeetingError(f"The id of a sample of group {key!r} is {sample.id!r}; give a text or a whole number.")
        given = arrival(
            sample if number is None else replace(sample, id=number)
        )  # before the lock is taken: pictures may be large
        waiting: Future[Met] = Future()
        with self._changed:
            now = self._clock()
            answers = [*self._table.expire(now), *self._table.arrive(key, count, given, waiting, now)]
            if self._thread is None and not self._table.closed:
                self._thread = threading.Thread(target=self._run, name="yoj-meeting", daemon=True)
                self._thread.start()
            self._changed.notify()
        _give(answers)
        return waiting

    @property
    def waiting(self) -> int:
        """Number of samples that wait for their group or for the judge."""
        with self._changed:
            return self._table.waiting

    @property
    def outcomes(self) -> dict[str, int]:
        """Number of groups that were ``scored``, and that ``failed``, for whatever reason; each counts once."""
        with self._changed:
            return {"scored": self._table.scored, "failed": self._table.failed}

    def close(self) -> None:
        """Answer those whose group is not whole with a `MeetingError`, score the whole ones, and end the thread."""
        with self._changed:
            answers = self._table.close(CLOSED)
            self._changed.notify()
        _give(answers)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while groups := self._next():
            outcomes = self._outcomes(groups)
            with self._changed:
                answers = [
                    answer
                    for group, outcome in zip(groups, outcomes, strict=True)
                    for answer in self._table.finish(group, outcome)
                ]
            _give(answers)

    def _next(self) -> list[Group]:
        """Wait for whole groups; none when the meeting point is closed."""
        while True:
            with self._changed:
                answers = self._table.expire(self._clock())
                groups = self._table.take(GROUPS_PER_CALL)
                if not groups and not answers:
                    if self._table.closed:
                        return []
                    left = self._table.seconds_left(self._clock())
                    self._changed.wait(None if left is None else min(left, threading.TIMEOUT_MAX))
            _give(answers)
            if groups:
                return groups

    def _outcomes(self, groups: Sequence[Group]) -> list[RewardedGroup | Failure]:
        try:
            found = self._score([group.request() for group in groups])
            return [_checked(group, one) for group, one in zip(groups, found, strict=True)]
        except BaseException as error:  # even a panic of a library: who waits would wait for ever
            return [_failure(group, error) for group in groups]


def _whole(value: object) -> int | None:
    """Whole number, also one of NumPy; None where it is none."""
    try:
        return None if isinstance(value, bool) else operator.index(cast("SupportsIndex", value))
    except TypeError:
        return None


def _checked(group: Group, found: RewardedGroup) -> RewardedGroup | Failure:
    if found.id != group.key:
        return _failure(group, ValueError(f"the answer is that of group {found.id!r}"))
    if found.rewards is None:
        return _failure(group, found.error)
    if len(found.rewards) != len(group.seats):
        count = len(found.rewards)
        return _failure(group, ValueError(f"{count} rewards came for {len(group.seats)} samples"))
    return found


def _failure(group: Group, error: BaseException | None) -> Failure:
    told = "it gave no reward and no reason" if error is None else reason(error)
    return Failure(f"The judge failed for group {group.key!r} of {len(group.seats)} samples: {told}", "judge", error)


def _give(answers: Sequence[Answer]) -> None:
    """Answer those who wait. The lock is not held: what hears of it may submit again."""
    for future, outcome in answers:
        if not future.set_running_or_notify_cancel():
            continue
        if isinstance(outcome, Failure):
            future.set_exception(outcome.error())
        else:
            future.set_result(outcome)
