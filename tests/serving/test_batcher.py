"""Batches: which requests are scored together, and callers who leave in every phase."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoj.runtime import Request
from yoj.serving._batcher import PADDING, Batcher, like_the_first
from yoj.serving._errors import DeadlineError, DrainingError, OverloadedError
from yoj.serving._metrics import Metrics
from yoj.serving._settings import QueueSettings


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 4)), min_size=1, max_size=40), st.integers(1, 9000))
def test_a_batch_has_the_first_and_neighbours_in_length_within_both_bounds(rows, tokens):
    taken = like_the_first(rows, tokens)
    assert 0 in taken
    assert len(taken) == len(set(taken))
    lengths = [rows[k][0] for k in taken]
    padded, used = max(lengths) * sum(rows[k][1] for k in taken), sum(rows[k][0] * rows[k][1] for k in taken)
    if len(taken) > 1:
        assert padded <= tokens
        assert used >= (1 - PADDING) * padded
    assert not [k for k, (length, _) in enumerate(rows) if min(lengths) < length < max(lengths) and k not in taken]


@pytest.mark.parametrize(
    ("rows", "tokens", "taken"),
    [
        ([(100, 1), (100, 1), (97, 1), (50, 1), (104, 1)], 1000, [0, 1, 2, 4]),
        ([(100, 1), (100, 1), (100, 1)], 200, [0, 1]),
        ([(100, 4), (100, 1)], 300, [0]),
        ([(50, 1), (100, 1), (100, 1)], 1000, [0]),
    ],
)
def test_batches_by_hand(rows, tokens, taken):
    assert sorted(like_the_first(rows, tokens)) == taken


@asynccontextmanager
async def batching(scorer, **settings) -> AsyncIterator[Batcher]:
    batcher = Batcher(scorer, QueueSettings(intake_threads=1, **settings), Metrics(scorer.cache))
    batcher.start()
    yield batcher
    if batcher.accepts:
        await batcher.stop()
    # A thread of the intake ends by itself, a moment after the last request for a caller who has gone.
    await eventually(lambda: not [one.name for one in threading.enumerate() if one.name.startswith("yoj-")])


def ready(count: int = 1):
    return "beside", [Request("Which?", ["One.", f"Two {k}."]) for k in range(count)]


async def eventually(true) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def soon() -> float:
    return time.monotonic() + 60


@pytest.mark.export
def test_callers_who_leave_while_requests_are_prepared_leave_nothing_behind(scorer):
    own = scorer("qwen3_vl")

    async def run() -> None:
        async with batching(own) as batcher:
            free = threading.Event()

            def slow():
                assert free.wait(60)
                return ready(3)

            begun = asyncio.ensure_future(batcher.judge(slow, soon()))
            waiting = asyncio.ensure_future(batcher.judge(lambda: pytest.fail("it is never read"), soon()))
            await asyncio.sleep(0.05)
            for task in (begun, waiting):
                task.cancel()
            await asyncio.gather(begun, waiting, return_exceptions=True)
            free.set()
            await eventually(lambda: batcher._preparing == 0)
            assert (batcher._taken, len(batcher._queue)) == (0, 0)
            beside, (judgement,) = await batcher.judge(lambda: ready(), soon())
            assert (beside, len(judgement.scores), judgement.batch) == ("beside", 2, 1)

    asyncio.run(run())


@pytest.mark.export
def test_more_requests_than_one_take_places_and_give_them_back(scorer):
    own = scorer("qwen3_vl")

    async def run() -> None:
        async with batching(own, max_queue=3) as batcher:
            batcher.admit()
            _, judged = await batcher.judge(lambda: ready(3), soon())
            assert [len(one.scores) for one in judged] == [2, 2, 2]
            assert batcher._taken == 1
            with pytest.raises(OverloadedError, match="no place for 3 more"):
                await batcher.judge(lambda: ready(4), soon())
            assert batcher._taken == 1
            with pytest.raises(DeadlineError):
                await batcher.judge(lambda: ready(), time.monotonic())
            with pytest.raises(ZeroDivisionError):
                await batcher.judge(lambda: 1 / 0, soon())
            batcher.release()
        with pytest.raises(DrainingError):
            batcher.admit()

    asyncio.run(run())


@pytest.mark.export
def test_what_was_taken_is_answered_while_the_server_ends(scorer):
    own = scorer("qwen3_vl")

    async def run() -> None:
        async with batching(own) as batcher:
            free = threading.Event()
            batcher.admit()

            def slow():
                assert free.wait(60)
                return ready(2)

            taken = asyncio.ensure_future(batcher.judge(slow, soon()))
            await asyncio.sleep(0.05)
            ending = asyncio.ensure_future(batcher.stop())
            await asyncio.sleep(0.05)
            free.set()
            _, judged = await taken
            assert [len(one.scores) for one in judged] == [2, 2]
            batcher.release()
            await ending

    asyncio.run(run())
