"""Seats: which of the samples without names are the same, and which round of a group they belong to."""

from __future__ import annotations

import asyncio

import pytest
from meetings import Clock

from yoj.integrations import MeetingError
from yoj.serving import _seats
from yoj.serving._seats import Seats


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def briefly(monkeypatch):
    monkeypatch.setattr(_seats, "SETTLE", 0.001)


class Caller:
    """Caller who waits on a connection, in a task of its own."""

    def __init__(self, seats: Seats, response: str, size: int = 2, group: str = "g"):
        self.closed = False
        self.seat: tuple[str, str] | None = None
        self._outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._wait(seats, group, size, response))

    async def _wait(self, seats: Seats, group: str, size: int, response: str) -> None:
        async with seats.taken(group, size, response, self._gone) as seat:
            self.seat = (seat.key, seat.sample)
            await self._outcome

    async def _gone(self) -> bool:
        return self.closed

    async def answered(self) -> tuple[str, str]:
        """Its seat, after it was answered there."""
        self._outcome.set_result(None)
        await self._task
        assert self.seat is not None
        return self.seat

    async def fails(self, error: BaseException) -> tuple[str, str] | None:
        """Its seat, after it met there with an error."""
        self._outcome.set_exception(error)
        with pytest.raises(type(error)):
            await self._task
        return self.seat

    async def is_noticed(self) -> None:
        """The server cancels what it does for a caller who has gone."""
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task


async def settled() -> None:
    for _ in range(10):  # each ends after those that began before it
        await asyncio.sleep(_seats.SETTLE)


async def came(seats: Seats, *responses: str, **fields) -> list[Caller]:
    """Callers who come one after the other, as soon as all that is known is done."""
    made = []
    for one in responses:
        made.append(Caller(seats, one, **fields))
        await asyncio.sleep(0)
    await settled()
    return made


async def answered(seats: Seats, *responses: str, **fields) -> list[tuple[str, str]]:
    """Names of samples that wait at once and are answered in turn."""
    return [await one.answered() for one in await came(seats, *responses, **fields)]


async def failed(seats: Seats, response: str, error: BaseException, **fields) -> tuple[str, str] | None:
    """Name of a sample that meets with an error."""
    (one,) = await came(seats, response, **fields)
    return await one.fails(error)


def inside(clock: Clock, test) -> None:
    asyncio.run(test(Seats(100.0, clock)))


def test_equal_responses_that_wait_at_once_are_two_samples(clock):
    async def test(seats):
        assert await answered(seats, "x", "x") == [("g@0", "x#0"), ("g@0", "x#1")]

    inside(clock, test)


def test_of_equal_responses_the_first_alone_has_a_seat_before_the_group_is_whole(clock):
    async def test(seats):
        first, second = await came(seats, "x", "x", size=3)
        assert (first.seat, second.seat) == (("g@0", "x#0"), None)
        (last,) = await came(seats, "y", size=3)
        assert [one.seat for one in (first, second, last)] == [("g@0", "x#0"), ("g@0", "x#1"), ("g@0", "y#0")]

    inside(clock, test)


@pytest.mark.parametrize("late", [False, True])
def test_tries_before_the_first_ones_are_noticed_as_gone_are_no_other_samples(late, clock):
    """The group seems to be whole with the first tries and the second of one."""

    async def test(seats):
        gone = [Caller(seats, "x", size=3) for _ in range(2)]
        await asyncio.sleep(0)
        tries = [Caller(seats, "x", size=3) for _ in range(2)]
        await asyncio.sleep(0)
        for one in gone:
            one.closed = True
            if not late:
                await one.is_noticed()
        await settled()
        assert sorted(one.seat or ("", "") for one in tries) == [("", ""), ("g@0", "x#0")]
        (last,) = await came(seats, "y", size=3)
        for one in gone if late else []:
            await one.is_noticed()  # which frees no seat that another has
        assert sorted([await one.answered() for one in (*tries, last)]) == [
            ("g@0", "x#0"),
            ("g@0", "x#1"),
            ("g@0", "y#0"),
        ]

    inside(clock, test)


def test_a_sample_that_seemed_too_many_has_its_seat_when_those_who_went_are_found(clock):
    async def test(seats):
        gone, again, last = (Caller(seats, one) for one in ("x", "x", "y"))
        await asyncio.sleep(0)
        gone.closed = True
        await settled()
        assert (again.seat, last.seat) == (("g@0", "x#0"), ("g@0", "y#0"))

    inside(clock, test)


def test_one_too_many_is_the_first_of_the_next_round(clock):
    async def test(seats):
        assert await answered(seats, "x", "x", "y") == [("g@0", "x#0"), ("g@0", "x#1"), ("g@1", "y#0")]

    inside(clock, test)


def test_a_try_while_the_judge_reads_finds_the_seat_of_the_one_that_went(clock):
    async def test(seats):
        gone, other = await came(seats, "x", "y")
        gone.closed = True
        (again,) = await came(seats, "x")
        await gone.is_noticed()
        assert [await one.answered() for one in (again, other)] == [("g@0", "x#0"), ("g@0", "y#0")]

    inside(clock, test)


def test_a_copy_whose_caller_goes_is_no_sample_until_it_comes_again(clock):
    async def test(seats):
        first, copy = await came(seats, "x", "x", size=3)
        await copy.is_noticed()
        (other,) = await came(seats, "y", size=3)
        (again,) = await came(seats, "x", size=3)
        assert [await one.answered() for one in (first, other, again)] == [
            ("g@0", "x#0"),
            ("g@0", "y#0"),
            ("g@0", "x#1"),
        ]

    inside(clock, test)


@pytest.mark.parametrize("reason", ["time", "conflict", "judge"])
def test_copies_hear_when_their_group_fails(reason, clock):
    async def test(seats):
        first, copy = await came(seats, "x", "x", size=3)
        await first.fails(MeetingError("so", reason))
        await settled()
        assert await copy.fails(MeetingError("so", reason)) == ("g@0", "x#1")

    inside(clock, test)


def test_another_size_is_for_the_meeting_point_to_refuse(clock):
    async def test(seats):
        await came(seats, "x", size=3)
        (other,) = await came(seats, "x", size=2)
        assert other.seat == ("g@0", "x#1")

    inside(clock, test)


def test_each_epoch_is_a_round_of_its_own(clock):
    async def test(seats):
        for epoch in range(3):
            assert await answered(seats, "x", "y") == [(f"g@{epoch}", "x#0"), (f"g@{epoch}", "y#0")]

    inside(clock, test)


def test_who_went_without_an_answer_finds_the_seat_again_and_it_is_answered_once(clock):
    async def test(seats):
        for _ in range(3):
            assert await failed(seats, "x", TimeoutError()) == ("g@0", "x#0")
        assert await answered(seats, "y") == [("g@0", "y#0")]
        assert await answered(seats, "x") == [("g@0", "x#0")]  # the others have their rewards already
        assert await answered(seats, "x") == [("g@1", "x#0")]

    inside(clock, test)


def test_an_answer_that_nobody_fetched_is_not_kept_for_ever(clock):
    async def test(seats):
        await failed(seats, "x", TimeoutError())
        assert await answered(seats, "y") == [("g@0", "y#0")]
        clock.now = 100
        assert await answered(seats, "x") == [("g@1", "x#0")]

    inside(clock, test)


def test_tries_after_a_failure_hear_the_same_until_its_time_is_over(clock):
    async def test(seats):
        for response in ("x", "x", "y", "late", "later", "x"):
            assert await failed(seats, response, MeetingError("so", "time")) == ("g@0", f"{response}#0")
        clock.now = 100
        assert await answered(seats, "x") == [("g@1", "x#0")]

    inside(clock, test)


@pytest.mark.parametrize("reason", ["full", "closed"])
def test_who_found_no_room_is_the_same_sample_when_it_comes_again(reason, clock):
    async def test(seats):
        first, copy = await came(seats, "x", "x", size=3)
        assert await first.fails(MeetingError("so", reason)) == ("g@0", "x#0")
        await settled()
        assert await copy.fails(MeetingError("so", reason)) == ("g@0", "x#0")
        assert await answered(seats, "x", "y", "x", size=3) == [("g@0", "x#0"), ("g@0", "y#0"), ("g@0", "x#1")]

    inside(clock, test)


def test_rounds_that_are_over_are_forgotten_the_oldest_first(clock, monkeypatch):
    monkeypatch.setattr(_seats, "REMEMBERED", 16)

    async def test(seats):
        (waiting,) = await came(seats, "x", group="waiting")
        for k in range(40):
            async with seats.taken(f"g{k}", 1, "x", waiting._gone):
                pass
        assert len(seats._rounds) <= 17
        assert {"waiting", "g39"} <= seats._rounds.keys()
        assert await answered(seats, "x", "y") == [("g@0", "x#0"), ("g@0", "y#0")]
        await waiting.is_noticed()

    inside(clock, test)
