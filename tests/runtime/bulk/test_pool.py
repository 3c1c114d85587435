"""The pool: every row has one outcome, whatever ends its processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import count
from multiprocessing.connection import wait
from pathlib import Path

import pytest
from toy_workers import open_doubler

from yoj.runtime import EngineError
from yoj.runtime.bulk._pool import GivenUp, Kind, Pool

pytestmark = pytest.mark.slow
KIND = Kind("toy", open_doubler, 2, lambda row: row)


def opened(size: int, setup: int = 3) -> Pool:
    pool = Pool(KIND, size)
    pool.setup([setup] * size)
    return pool


def finish(pool: Pool, tasks: list[dict[int, object]], disturb=lambda pool: None) -> dict[int, object]:
    """Outcome of each row; none may come twice."""
    found: dict[int, object] = {}
    expected = sum(map(len, tasks))
    waiting = list(reversed(tasks))
    while len(found) < expected:
        while waiting and pool.has_room():
            pool.give(waiting.pop())
        disturb(pool)
        for connection in wait(pool.connections):
            for position, _, outcome in pool.receive(connection)[0]:
                assert position not in found
                found[position] = outcome
    assert not pool.rows_out
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_rows_are_done_once_while_processes_are_killed_at_random():
    rng, turns = random.Random(0), count()
    tasks = [{k: k for k in range(begin, begin + 5)} for begin in range(0, 1000, 5)]

    def kill(pool: Pool) -> None:
        if next(turns) in (4, 20, 40, 41, 60):
            rng.choice(pool._places).child.kill()

    with closing(opened(3)) as pool:
        found = finish(pool, tasks, kill)
        assert found == {k: 3 * k for k in range(1000)}
        assert pool.restarts > 1  # a place may be killed again before its end is noticed


def test_a_row_that_ends_two_processes_is_given_up_and_no_other():
    rows = {k: "die" if k in (3, 17) else k for k in range(20)}
    with closing(opened(2)) as pool:
        found = finish(pool, [dict(list(rows.items())[k : k + 10]) for k in (0, 10)])
        assert {k for k, outcome in found.items() if isinstance(outcome, GivenUp)} == {3, 17}
        assert found[3] == GivenUp("SIGKILL")
        assert all(found[k] == 3 * k for k in range(20) if k not in (3, 17))


def test_a_fault_of_the_worker_is_no_dead_end(capfd):
    with closing(opened(1)) as pool:
        assert finish(pool, [{0: "raise", 1: 5}]) == {0: GivenUp("exit status 1"), 1: 15}
    assert "a fault of the worker" in capfd.readouterr().err


def test_a_worker_that_cannot_be_opened_is_an_error_here():
    with closing(opened(1, setup=-1)) as pool, pytest.raises(ValueError, match="setup is -1"):
        finish(pool, [{0: 0}])
    with closing(opened(1, setup=667)) as pool, pytest.raises(EngineError, match="Local: only here"):
        finish(pool, [{0: 0}])


def test_processes_that_end_one_after_the_other_are_an_error_that_says_so(monkeypatch):
    monkeypatch.setattr("yoj.runtime.bulk._pool.MOST_DEATHS", 3)
    with closing(opened(1, setup=666)) as pool, pytest.raises(EngineError, match=r"3 processes of toy .* SIGKILL"):
        finish(pool, [{0: 0}])


def test_forgotten_rows_have_no_outcome():
    with closing(opened(1)) as pool:
        while not pool.ready:
            pool.receive(wait(pool.connections)[0])
        pool.give({0: 1, 1: 2})
        pool.forget()
        assert finish(pool, [{2: 2}, {3: 3}]) == {2: 6, 3: 9}


def test_a_process_that_works_ends_at_once_when_the_pool_is_closed():
    pool = opened(1)
    while not pool.ready:
        pool.receive(wait(pool.connections)[0])
    (pid,) = pool.told
    pool.give({0: "sleep"})
    time.sleep(0.2)
    begin = time.monotonic()
    pool.close()
    assert time.monotonic() - begin < 5
    assert not alive(pid)


SCRIPT = """
import sys, time
from multiprocessing.connection import wait
from toy_workers import open_doubler
from yoj.runtime.bulk._pool import Kind, Pool
if __name__ == "__main__":
    pool = Pool(Kind("toy", open_doubler, 2, lambda row: row), 2)
    pool.setup([3, 3])
    while not pool.ready:
        for connection in wait(pool.connections):
            pool.receive(connection)
    pool.give({0: "sleep"})
    print(*pool.told, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_no_process_outlives_its_parent(number, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, sys.path), os.environ.get("PYTHONPATH", "")])}
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
        text=True,
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    if number is signal.SIGINT:
        os.killpg(parent.pid, number)  # as Ctrl-C in a terminal: all of the group get it
    else:
        parent.send_signal(number)
    _, told = parent.communicate(timeout=30)
    assert told.count("Traceback") == (number is signal.SIGINT)  # the parent's own
    end = time.monotonic() + 20
    while any(map(alive, pids)):
        assert time.monotonic() < end
        time.sleep(0.05)
