"""Seats: which of the samples without names are the same, and which round of a group they belong to."""

from __future__ import annotations

from contextlib import suppress

import pytest
from meetings import Clock

from yoj.integrations import MeetingError
from yoj.serving import _seats
from yoj.serving._seats import Seats


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seats(clock) -> Seats:
    return Seats(100.0, clock)


def answered(seats: Seats, *responses: str, size: int = 2) -> list[tuple[str, str]]:
    """Names of samples that wait at once and are answered in turn."""
    opened = [seats.taken("g", size, one) for one in responses]
    found = [one.__enter__() for one in opened]
    for one in opened:
        one.__exit__(None, None, None)
    return [(one.key, one.sample) for one in found]


def failed(seats: Seats, response: str, error: BaseException) -> tuple[str, str]:
    """Name of a sample that meets with an error."""
    found: list[tuple[str, str]] = []
    with suppress(type(error)), seats.taken("g", 2, response) as seat:
        found.append((seat.key, seat.sample))
        raise error
    return found[0]


def test_equal_responses_that_wait_at_once_are_two_samples(seats):
    assert answered(seats, "x", "x") == [("g@0", "x#0"), ("g@0", "x#1")]


def test_each_epoch_is_a_round_of_its_own(seats):
    for epoch in range(3):
        assert answered(seats, "x", "y") == [(f"g@{epoch}", "x#0"), (f"g@{epoch}", "y#0")]


@pytest.mark.parametrize("error", [TimeoutError, KeyboardInterrupt])
def test_who_went_without_an_answer_finds_the_seat_again_and_it_is_answered_once(error, seats):
    for _ in range(3):
        assert failed(seats, "x", error()) == ("g@0", "x#0")
    assert answered(seats, "y") == [("g@0", "y#0")]
    assert answered(seats, "x") == [("g@0", "x#0")]  # the others have their rewards already
    assert answered(seats, "x") == [("g@1", "x#0")]


def test_an_answer_that_nobody_fetched_is_not_kept_for_ever(seats, clock):
    failed(seats, "x", TimeoutError())
    assert answered(seats, "y") == [("g@0", "y#0")]
    clock.now = 100
    assert answered(seats, "x") == [("g@1", "x#0")]


def test_tries_after_a_failure_hear_the_same_until_its_time_is_over(seats, clock):
    for response in ("x", "x", "y", "late", "later", "x"):
        assert failed(seats, response, MeetingError("so", "time")) == ("g@0", f"{response}#0")
    clock.now = 100
    assert answered(seats, "x") == [("g@1", "x#0")]


@pytest.mark.parametrize("reason", ["full", "closed"])
def test_who_found_no_room_is_the_same_sample_when_it_comes_again(reason, seats):
    assert failed(seats, "x", MeetingError("so", reason)) == ("g@0", "x#0")
    assert answered(seats, "x", "y") == [("g@0", "x#0"), ("g@0", "y#0")]


def test_rounds_that_are_over_are_forgotten_the_oldest_first(seats, monkeypatch):
    monkeypatch.setattr(_seats, "REMEMBERED", 16)
    with seats.taken("waiting", 2, "x"):
        for k in range(40):
            with seats.taken(f"g{k}", 1, "x"):
                pass
        assert len(seats._rounds) <= 17
        assert {"waiting", "g39"} <= seats._rounds.keys()
    assert answered(seats, "x") == [("g@0", "x#0")]
