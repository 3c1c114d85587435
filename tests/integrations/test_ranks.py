"""Turns of threads, and a process that is its only rank; test_trl_ranks.py and test_flow_grpo_ranks.py have several."""

from __future__ import annotations

import threading
import time

import pytest

from yoj.integrations._ranks import CallTurns, Ranks, failure_text, raise_first, rank_count
from yoj.runtime import RequestError


def test_calls_of_threads_go_through_one_by_one_in_their_order():
    turns, log = CallTurns(), []
    inside = threading.Event()

    def call(name: str) -> None:
        with turns.take() as number:
            log.append((name, number, "in"))
            inside.wait(5)
            log.append((name, number, "out"))

    threads = []
    for name in "abcd":
        threads.append(threading.Thread(target=call, args=name))
        threads[-1].start()
        while turns._came < len(threads):
            time.sleep(0.001)
    inside.set()
    for thread in threads:
        thread.join(10)
    assert log == [(name, k, what) for k, name in enumerate("abcd") for what in ("in", "out")]


def test_a_call_that_fails_lets_the_next_one_through():
    turns = CallTurns()
    with pytest.raises(ValueError, match="this one"), turns.take():
        raise ValueError("this one")
    with turns.take() as number:
        assert number == 1


@pytest.mark.parametrize("scope", ["shared", "own", "alone"])
def test_one_process_is_its_only_rank(scope):
    ranks = Ranks(scope)
    assert (ranks.rank, ranks.count, rank_count()) == (0, 1, 1)
    assert ranks.gather("a") == ["a"]
    assert ranks.exchange(["a"]) == ["a"]


def test_the_failure_of_this_rank_comes_before_those_of_others():
    own = ValueError("mine")
    told = [None, failure_text(RequestError("theirs")), failure_text(own)]
    with pytest.raises(ValueError, match="mine"):
        raise_first(own, told)
    with pytest.raises(RequestError, match="Rank 1 failed: RequestError: theirs"):
        raise_first(None, told)
    raise_first(None, [None, None])
