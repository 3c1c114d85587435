"""Table of a meeting point: the groups that are here and were here, without threads and without a clock."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from yoj.runtime import Request, YojError
from yoj.runtime.error_texts import shorten
from yoj.runtime.images import ImageInput
from yoj.runtime.request import Content, Conversation, Placeholders
from yoj.runtime.video import VideoInput

from ._group import RewardedGroup
from ._identity import identity

SampleId: TypeAlias = str | int
Reason = Literal["conflict", "time", "full", "closed", "judge"]
"""Reason why a sample has no reward: it contradicts its group; others of the group did not come; there is no room for a
new group; the meeting point was closed; the judge failed, and the error's cause says how."""
Partial = Literal["fail", "score"]
FEWEST = 2
"""Fewest samples of a group that are scored without the others: one alone says nothing of its rank."""


class MeetingError(YojError, RuntimeError):
    """Sample that gets no reward, with the reason."""

    # Made again from its text alone where it crosses processes; the reason travels in its state.
    def __init__(self, text: str, reason: Reason = "conflict"):
        super().__init__(text)
        self.reason: Reason = reason
        """Kind of the reason; see `Reason`."""


@dataclass(frozen=True)
class GroupSample:
    """One response of a group, and the prompt that it has in common with the others."""

    id: SampleId
    """Name of the sample in its group. The responses of a pack stand in the order of these: numbers first, by their
    size, then texts by theirs."""
    prompt: Content | Conversation
    response: Content
    images: Sequence[ImageInput] = ()
    """Images of the prompt; see `yoj.runtime.Request`."""
    video: VideoInput | None = None
    """Video of the prompt; see `yoj.runtime.Request`."""
    fps: float | None = None
    timestamps: Sequence[float] | None = None
    placeholders: Placeholders = "error"


@dataclass(frozen=True)
class MeetingSettings:
    """Settings of a meeting point."""

    timeout: float = 600.0
    """Seconds for which a group waits for its last sample, from the arrival of its first."""
    partial: Partial = "fail"
    """Treatment of a group whose time is over: ``fail`` gives none of its samples a reward; ``score`` scores those that
    came, if they are two or more."""
    remembered: int = 4096
    """Groups that are remembered after they were answered, so that a sample that is sent again gets its answer again
    and opens no new group."""
    max_samples: int = 65_536
    """Most samples of all groups that wait, counted from a group's first sample by its size. New groups over it are
    refused; samples of groups that are here never are."""
    max_bytes: int = 4 * 2**30
    """Most bytes of texts and media of the groups that wait. New groups over it are refused."""

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            MeetingError: a setting has a value that it cannot have.
        """
        value = getattr(self, "timeout")  # noqa: B009  (whatever it is)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise MeetingError(f"timeout is {value!r}; give a number of seconds above 0.")
        if self.partial not in get_args(Partial):
            raise MeetingError(f"partial is {self.partial!r}; give {' or '.join(map(repr, get_args(Partial)))}.")
        for name in ("remembered", "max_samples", "max_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise MeetingError(f"{name} is {value!r}; give a whole number from 1.")


@dataclass(frozen=True)
class Met:
    """Reward of one sample, and the group in which it was scored."""

    reward: float
    place: int
    """Place of the sample in its group's tuples."""
    group: RewardedGroup


@dataclass(frozen=True)
class Failure:
    """Reason why a sample gets no reward."""

    text: str
    reason: Reason
    cause: BaseException | None = None

    def error(self) -> MeetingError:
        """A new error for each that waits: one that several threads raise would gather the traces of all."""
        error = MeetingError(self.text, self.reason)
        error.__cause__ = self.cause
        return error


Answer: TypeAlias = "tuple[Future[Met], Met | Failure]"


@dataclass(frozen=True)
class Arrival:
    """Sample with the identity of its content."""

    sample: GroupSample
    common: bytes
    """Digest of what all samples of a group have in common."""
    own: bytes
    """Digest of the response."""
    common_bytes: int
    own_bytes: int


def arrival(sample: GroupSample) -> Arrival:
    """Arrival of a sample; see `identity` for what it raises."""
    common, common_bytes = identity(
        (sample.prompt, sample.images, sample.video, sample.fps, sample.timestamps, sample.placeholders)
    )
    own, own_bytes = identity(sample.response)
    return Arrival(sample, common, own, common_bytes, own_bytes)


@dataclass(eq=False)
class _Seat:
    """One sample of a group that is here, and all who wait for its reward."""

    response: Content
    own: bytes
    waiting: list[Future[Met]] = field(default_factory=list["Future[Met]"])


@dataclass(eq=False)
class Group:
    """Group that waits for samples or for the judge."""

    key: str
    size: int
    first: Arrival
    """The arrival that opened it, whose prompt and media are kept; those of the others are the same."""
    deadline: float
    seats: dict[SampleId, _Seat] = field(default_factory=dict["SampleId", _Seat])
    bytes: int = 0
    open: bool = True
    """Whether it waits for samples."""

    def request(self) -> Request:
        """Request of the whole group. The order of the responses is that of the samples' ids, whoever came first."""
        sample = self.first.sample
        return Request(
            sample.prompt,
            [self.seats[one].response for one in self.ids],
            sample.images,
            sample.video,
            sample.fps,
            sample.timestamps,
            placeholders=sample.placeholders,
            id=self.key,
        )

    @property
    def ids(self) -> list[SampleId]:
        """Ids of the samples, in the order of the pack."""
        return _sorted(self.seats)

    def conflict(self, size: int, given: Arrival) -> Failure | None:
        """Contradiction between a sample and the group, or None."""
        told = f"Sample {given.sample.id!r} of group {self.key!r}"
        seat = self.seats.get(given.sample.id)
        if size != self.size:
            text = f"{told} says that the group has {size} samples; the first said {self.size}."
        elif given.common != self.first.common:
            text = f"{told} has another prompt or other media than sample {self.first.sample.id!r}."
        elif seat is not None and seat.own != given.own:
            text = f"{told} came twice, with different responses."
        elif seat is None and len(self.seats) >= self.size:
            text = f"{told} is one too many: the group has {self.size} samples, {_listed(self.ids)}."
        else:
            return None
        return Failure(f"{text} {AMBIGUOUS}", "conflict")


AMBIGUOUS = "Give each group a key that no other has, in another step or epoch either, and each sample its own id."


@dataclass(frozen=True)
class _Finished:
    """Group that was answered, with digests in the place of its content."""

    size: int
    common: bytes
    places: dict[SampleId, tuple[int, bytes]]
    outcome: RewardedGroup | Failure

    def answer(self, key: str, size: int, given: Arrival) -> Met | Failure:
        if isinstance(self.outcome, Failure):
            return self.outcome
        told = f"Sample {given.sample.id!r} of group {key!r}"
        if given.sample.id not in self.places:
            text = (
                f"{told} came after the group was scored with {len(self.places)} of its {self.size} samples, "
                f"{_listed(_sorted(self.places))}."
            )
            whole = len(self.places) == self.size
            return Failure(f"{text} {AMBIGUOUS}" if whole else text, "conflict" if whole else "time")
        place, own = self.places[given.sample.id]
        if (size, given.common, given.own) != (self.size, self.common, own):
            return Failure(f"{told} came again, with other content than was scored. {AMBIGUOUS}", "conflict")
        return self.outcome_of(place)

    def outcome_of(self, place: int) -> Met | Failure:
        if isinstance(self.outcome, Failure):
            return self.outcome
        assert self.outcome.rewards is not None  # else it is a failure
        return Met(self.outcome.rewards[place], place, self.outcome)


class MeetingTable:
    """All groups of a meeting point. Whoever calls holds its lock, and gives the answers after releasing it."""

    def __init__(self, settings: MeetingSettings):
        self._settings = settings
        self._open: dict[str, Group] = {}  # in the order of their deadlines
        self._ready: deque[Group] = deque()
        self._here: dict[str, Group] = {}  # open, ready or being scored
        self._finished: dict[str, _Finished] = {}
        self._places = self._bytes = 0
        self._closed: Failure | None = None
        self.scored = 0
        """Number of groups that got rewards."""
        self.failed = 0
        """Number of groups that got none, for whatever reason."""

    @property
    def closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closed is not None

    @property
    def waiting(self) -> int:
        """Number of samples of the groups that are here."""
        return sum(len(group.seats) for group in self._here.values())

    def arrive(self, key: str, size: int, given: Arrival, waiting: Future[Met], now: float) -> list[Answer]:
        """Take a sample; the answers that this brings about, often none."""
        if self._closed is not None:
            return [(waiting, self._closed)]
        if (finished := self._finished.get(key)) is not None:
            return [(waiting, finished.answer(key, size, given))]
        group = self._here.get(key)
        if group is None:
            if (full := self._no_room(key, size, given)) is not None:
                return [(waiting, full)]
            group = Group(key, size, given, now + self._settings.timeout)
            self._open[key] = self._here[key] = group
            self._places += size
        elif (conflict := group.conflict(size, given)) is not None:
            # A key that two groups have: while it waits, none of what came is known to belong together.
            return [(waiting, conflict), *(self.finish(group, conflict) if group.open else ())]
        self._seat(group, given).waiting.append(waiting)
        return []

    def _seat(self, group: Group, given: Arrival) -> _Seat:
        if (seat := group.seats.get(given.sample.id)) is None:
            seat = group.seats[given.sample.id] = _Seat(given.sample.response, given.own)
            added = given.own_bytes + (given.common_bytes if given is group.first else 0)
            group.bytes += added
            self._bytes += added
            if len(group.seats) == group.size:
                self._make_ready(group)
        return seat

    def _no_room(self, key: str, size: int, given: Arrival) -> Failure | None:
        most, most_bytes = self._settings.max_samples, self._settings.max_bytes
        if size > most:
            return Failure(f"Group {key!r} has {size} samples; {most} are the limit of the meeting point.", "conflict")
        if self._places + size <= most and self._bytes + given.common_bytes + given.own_bytes <= most_bytes:
            return None
        return Failure(
            f"There is no room for group {key!r}: {len(self._here)} groups of {self._places} samples and "
            f"{self._bytes:,} bytes are here; {most} samples and {most_bytes:,} bytes are the limit. Try again later.",
            "full",
        )

    def _make_ready(self, group: Group) -> None:
        group.open = False
        del self._open[group.key]
        self._ready.append(group)

    def expire(self, now: float) -> list[Answer]:
        """Give up, or make ready, the groups whose time is over."""
        answers: list[Answer] = []
        for group in list(itertools.takewhile(lambda group: group.deadline <= now, self._open.values())):
            if self._settings.partial == "score" and len(group.seats) >= FEWEST:
                self._make_ready(group)
                continue
            text = (
                f"Group {group.key!r} had {len(group.seats)} of its {group.size} samples after "
                f"{self._settings.timeout:g} s: {_listed(group.ids)}. The others were lost, or take longer: look why, "
                "or give the group more time."
            )
            answers += self.finish(group, Failure(text, "time"))
        return answers

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the next group's time is over; None where none waits."""
        return next((max(0.0, group.deadline - now) for group in self._open.values()), None)

    def take(self, count: int) -> list[Group]:
        """Take groups that are to be scored, at most so many. Each must be given to `finish`."""
        return [self._ready.popleft() for _ in range(min(count, len(self._ready)))]

    def finish(self, group: Group, outcome: RewardedGroup | Failure) -> list[Answer]:
        """Forget a group's content, count and remember its outcome, and answer all who wait for it."""
        if isinstance(outcome, Failure):
            self.failed += 1
        else:
            self.scored += 1
        del self._here[group.key]
        self._open.pop(group.key, None)
        self._places -= group.size
        self._bytes -= group.bytes
        places = {one: (place, group.seats[one].own) for place, one in enumerate(group.ids)}
        finished = _Finished(group.size, group.first.common, places, outcome)
        self._finished[group.key] = finished
        while len(self._finished) > self._settings.remembered:
            del self._finished[next(iter(self._finished))]
        return [
            (one, finished.outcome_of(place))
            for name, (place, _) in places.items()
            for one in group.seats[name].waiting
        ]

    def close(self, text: str) -> list[Answer]:
        """Take nothing any more, and give up the groups that wait for samples; those that are ready remain."""
        self._closed = Failure(text, "closed")
        return [answer for group in list(self._open.values()) for answer in self.finish(group, self._closed)]


def _sorted(ids: Collection[SampleId]) -> list[SampleId]:
    return [*sorted(one for one in ids if isinstance(one, int)), *sorted(one for one in ids if isinstance(one, str))]


def _listed(ids: Sequence[SampleId]) -> str:
    return shorten(", ".join(map(repr, ids)), 120)
