"""The meter of a session: seconds in which anything ran, and how many run at once."""

from __future__ import annotations

import threading
import time

import pytest

from yoj.runtime.engines.metered import MeteredSession


class Slow:
    """Engine that does nothing for some time."""

    def __init__(self):
        self.running = self.most = 0

    def run(self, role, inputs):
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(inputs["seconds"])
        self.running -= 1
        if role == "wrong":
            raise ValueError(role)
        return {"scores": role}

    def open(self, role):
        self.opened = role

    def close(self):
        self.closed = True


@pytest.mark.parametrize("at_once", [1, 2])
def test_runs_that_overlap_count_once(at_once):
    slow = Slow()
    session = MeteredSession(slow, at_once)
    threads = [threading.Thread(target=session.run, args=("joint", {"seconds": 0.1})) for _ in range(4)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = time.perf_counter() - begin
    assert slow.most == at_once
    assert 0.4 / at_once <= session.take_seconds() <= whole
    assert session.take_seconds() == 0


def test_a_run_that_is_under_way_counts_so_far():
    session = MeteredSession(Slow(), 1)
    thread = threading.Thread(target=session.run, args=("joint", {"seconds": 0.3}))
    thread.start()
    time.sleep(0.1)
    first = session.take_seconds()
    thread.join()
    assert first > 0
    assert first + session.take_seconds() >= 0.3


def test_it_is_a_session_and_passes_errors_on():
    slow = Slow()
    session = MeteredSession(slow, 1)
    assert session.run("joint", {"seconds": 0}) == {"scores": "joint"}
    with pytest.raises(ValueError, match="wrong"):
        session.run("wrong", {"seconds": 0})
    assert session.run("joint", {"seconds": 0}) == {"scores": "joint"}
    session.open("vision")
    session.close()
    assert (slow.opened, slow.closed) == ("vision", True)
