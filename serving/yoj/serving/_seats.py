"""Seats: names for samples whose callers give none, and for groups whose key comes again in each epoch.

OpenRLHF sends a response and the dataset's label, and tries again when it has waited too long or the connection broke.
Who comes with the same response is another sample as long as the first caller waits, and the same one when that caller
has gone without an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from yoj.integrations import MeetingError

REMEMBERED = 8192
"""Keys whose rounds are remembered, more than a meeting point remembers groups: a round must not come again there."""


@dataclass(eq=False)
class Seat:
    """Place of one sample in a round of its group."""

    key: str
    """Key of the round."""
    sample: str
    """Name of the sample."""
    free: bool = False
    """Whether its caller has gone without an answer."""


@dataclass(eq=False)
class _Round:
    key: str
    number: int
    seats: dict[str, list[Seat]] = field(default_factory=dict[str, list[Seat]])
    """Digest of a response -> the seats that have it."""
    over: float | None = None
    """Time of the first answer."""
    failed: bool = False

    def take(self, size: int, digest: str) -> Seat | None:
        """Seat for a sample; None where all are taken by others."""
        own = self.seats.setdefault(digest, [])
        for seat in own:
            if seat.free:
                seat.free = False
                return seat
        if self.failed and own:  # whoever tries again hears the same
            return own[0]
        if not self.failed and sum(map(len, self.seats.values())) >= size:
            return None
        own.append(Seat(f"{self.key}@{self.number}", f"{digest}#{len(own)}"))
        return own[-1]


class Seats:
    """Rounds of all groups. Used by one thread."""

    def __init__(self, keep: float, clock: Callable[[], float] = time.monotonic):
        """Make room for rounds.

        Args:
            keep: seconds after the first answer of a round for which those who come late belong to it.
            clock: seconds that never go back.
        """
        self._keep = keep
        self._clock = clock
        self._rounds: dict[str, _Round] = {}

    @contextmanager
    def taken(self, group: str, size: int, digest: str) -> Generator[Seat]:
        """Seat of a caller who has gone, a new one, or the first of the group's next round, while its caller waits.

        Args:
            group: key of the group, which comes again in other epochs.
            size: number of its samples.
            digest: digest of the response.
        """
        found = self._rounds.get(group)
        if found is None or (found.over is not None and self._clock() >= found.over + self._keep):
            found = self._next(group, found)
        seat = found.take(size, digest)
        if seat is None:
            found = self._next(group, found)
            seat = found.take(size, digest)
        assert seat is not None  # the first of a round
        answered = False
        try:
            yield seat
            answered = True
        except MeetingError as error:
            answered = error.reason not in ("full", "closed")  # else the sample is not there
            found.failed |= answered
            raise
        finally:
            seat.free = not answered
            if answered and found.over is None:
                found.over = self._clock()

    def _next(self, group: str, before: _Round | None) -> _Round:
        self._rounds.pop(group, None)
        made = self._rounds[group] = _Round(group, 0 if before is None else before.number + 1)
        if len(self._rounds) > REMEMBERED:
            for key in [key for key, one in self._rounds.items() if one.over is not None][: REMEMBERED // 8]:
                del self._rounds[key]
        return made
