"""Seats: names for samples whose callers give none, and for groups whose key comes again in each epoch.

OpenRLHF sends a response and the dataset's label, and tries again when it has waited too long or the connection broke.
Who comes with the same response is another sample as long as the first caller waits, and the same one when that caller
has gone without an answer. That it has gone is seen a little after it went, when its next try may be here already. So
of equal responses the first alone has a seat at once. The others get theirs when the group is whole with them, after a
moment in which those who have gone are found; until then each of them counts as long as its caller is there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from yoj.integrations import MeetingError

REMEMBERED = 8192
"""Keys whose rounds are remembered, more than a meeting point remembers groups: a round must not come again there."""
SETTLE = 0.1
"""Seconds in which the end of a connection arrives that was closed before another was opened."""


@dataclass(eq=False)
class _Caller:
    digest: str
    gone: Callable[[], Awaitable[bool]]
    """Function that says whether the connection was closed."""
    seat: asyncio.Future[Seat | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Seat for which it waits; None where the round has none for it."""


@dataclass(eq=False)
class Seat:
    """Place of one sample in a round of its group."""

    key: str
    """Key of the round."""
    sample: str
    """Name of the sample."""
    caller: _Caller | None = None
    """Caller that waits for the answer; None where it has gone without one."""
    answered: bool = False

    @property
    def free(self) -> bool:
        """Whether its caller has gone without an answer."""
        return self.caller is None and not self.answered


@dataclass(eq=False)
class _Round:
    key: str
    number: int
    size: int
    seats: dict[str, list[Seat]] = field(default_factory=dict[str, list[Seat]])
    """Digest of a response -> the seats that have it; one at most while the round is open."""
    waiting: list[_Caller] = field(default_factory=list[_Caller])
    """Callers without a seat, in the order in which they came: those of equal responses, and those who may be too
    many."""
    open: bool = True
    """Whether it waits for samples."""
    arrivals: int = 0
    settling: asyncio.Task[None] | None = None
    over: float | None = None
    """Time of the first answer."""
    failed: bool = False

    @property
    def count(self) -> int:
        """Number of its samples, if all who wait are there."""
        return sum(map(len, self.seats.values())) + len(self.waiting)

    def take(self, size: int, caller: _Caller) -> Seat | None:
        """Seat for a sample that has one at once; None where it must wait, or all are taken by others."""
        own = self.seats.get(caller.digest, [])
        for seat in own:
            if seat.free:
                seat.caller = caller
                return seat
        if self.failed and own:  # whoever tries again hears the same
            return own[0]
        if self.failed or size != self.size:  # the meeting point says what is wrong
            return self._seat(caller)
        return None if self.count >= size or (self.open and own) else self._seat(caller)

    def _seat(self, caller: _Caller) -> Seat:
        own = self.seats.setdefault(caller.digest, [])
        own.append(Seat(f"{self.key}@{self.number}", f"{caller.digest}#{len(own)}", caller))
        return own[-1]

    def leave(self, seat: Seat, caller: _Caller) -> None:
        """Free the seat of a caller who goes without an answer, for an equal one who waits or comes."""
        if seat.caller is not caller:  # another has it already
            return
        seat.caller = next((one for one in self.waiting if one.digest == caller.digest), None)
        if seat.caller is not None:
            self.waiting.remove(seat.caller)
            seat.caller.seat.set_result(seat)

    async def part(self) -> None:
        """Give up the callers of equal responses whose connections were closed."""
        equal = {one.digest for one in self.waiting}
        held = [(one.caller, one) for digest in equal for one in self.seats.get(digest, []) if one.caller is not None]
        for caller in list(self.waiting):
            if await caller.gone() and caller in self.waiting:
                self.waiting.remove(caller)
        for caller, seat in held:
            if await caller.gone():
                self.leave(seat, caller)

    def close(self, most: int | None = None) -> None:
        """Give all who wait their seats, as far as there are so many, and take no more."""
        self.open = False
        for caller in self.waiting:
            room = most is None or sum(map(len, self.seats.values())) < most
            caller.seat.set_result(self._seat(caller) if room else None)
        self.waiting.clear()

    def admit(self) -> None:
        """Give those their seats who seemed too many and are the first with their response."""
        for caller in list(self.waiting):
            if caller.digest not in self.seats:
                self.waiting.remove(caller)
                caller.seat.set_result(self._seat(caller))


class Seats:
    """Rounds of all groups. Used in one event loop."""

    def __init__(self, keep: float, clock: Callable[[], float] = time.monotonic):
        """Make room for rounds.

        Args:
            keep: seconds after the first answer of a round for which those who come late belong to it.
            clock: seconds that never go back.
        """
        self._keep = keep
        self._clock = clock
        self._rounds: dict[str, _Round] = {}

    @asynccontextmanager
    async def taken(
        self, group: str, size: int, digest: str, gone: Callable[[], Awaitable[bool]]
    ) -> AsyncGenerator[Seat]:
        """Seat of a caller who has gone, a new one, or the first of the group's next round, while its caller waits.

        Args:
            group: key of the group, which comes again in other epochs.
            size: number of its samples.
            digest: digest of the response.
            gone: function that says whether the caller has closed its connection.
        """
        caller = _Caller(digest, gone)
        found, seat = await self._find(group, size, caller)
        answered = False
        try:
            yield seat
            answered = True
        except MeetingError as error:
            answered = error.reason not in ("full", "closed")  # else the sample is not there
            found.failed |= answered
            raise
        finally:
            if answered:
                seat.answered = True
                found.over = self._clock() if found.over is None else found.over
                found.close()
            else:
                found.leave(seat, caller)

    async def _find(self, group: str, size: int, caller: _Caller) -> tuple[_Round, Seat]:
        while True:
            found = self._rounds.get(group)
            if found is None or (found.over is not None and self._clock() >= found.over + self._keep):
                found = self._next(group, size, found)
            found.arrivals += 1
            seat = found.take(size, caller)
            if seat is not None:
                self._look(found)
            elif found.open:
                seat = await self._waited(found, caller)
            else:
                seat = await _of_one_gone(found, size, caller)
            if seat is not None:
                return found, seat
            if self._rounds.get(group) is found:
                self._next(group, size, found)
            caller = _Caller(caller.digest, caller.gone)

    async def _waited(self, found: _Round, caller: _Caller) -> Seat | None:
        found.waiting.append(caller)
        self._look(found)
        try:
            return await asyncio.shield(caller.seat)
        except asyncio.CancelledError:
            if caller in found.waiting:
                found.waiting.remove(caller)
            elif caller.seat.done() and (seat := caller.seat.result()) is not None:
                found.leave(seat, caller)
            raise

    def _look(self, found: _Round) -> None:
        """Close a round that is whole: at once where all responses differ."""
        if not found.open or found.count < found.size or found.settling is not None:
            return
        if found.waiting:
            found.settling = asyncio.create_task(self._settle(found))
        else:
            found.close()

    async def _settle(self, found: _Round) -> None:
        try:
            arrivals = -1
            while found.open and arrivals != found.arrivals:
                arrivals = found.arrivals
                await asyncio.sleep(SETTLE)
                await found.part()
            if found.open and found.count >= found.size:
                found.close(found.size)
            elif found.open:
                found.admit()
        finally:
            found.settling = None

    def _next(self, group: str, size: int, before: _Round | None) -> _Round:
        self._rounds.pop(group, None)
        made = self._rounds[group] = _Round(group, 0 if before is None else before.number + 1, size)
        if len(self._rounds) > REMEMBERED:
            for key in [key for key, one in self._rounds.items() if one.over is not None][: REMEMBERED // 8]:
                del self._rounds[key]
        return made


async def _of_one_gone(found: _Round, size: int, caller: _Caller) -> Seat | None:
    """Seat of an equal response in a whole round whose caller turns out to have gone without an answer."""
    own = [seat for seat in found.seats.get(caller.digest, []) if not seat.answered]
    if not own:
        return None
    await asyncio.sleep(SETTLE)
    for seat in own:
        holder = seat.caller
        if holder is not None and not seat.answered and await holder.gone():
            found.leave(seat, holder)
    return found.take(size, caller)
