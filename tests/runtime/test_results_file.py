"""The file of results that a run goes on with: spare files of killed runs, damaged lines, locks."""

from __future__ import annotations

import json
import os
import threading

import pytest

from yoj.runtime import RequestError
from yoj.runtime._results_file import open_locked, open_results

SCORED = [json.dumps({"line": number, "request": "r", "run": "x", "best": 0}).encode() + b"\n" for number in (1, 2, 3)]
FAILED = b'{"line":4,"request":"r","run":"x","error":{"message":"no"}}\n'


def reopen(out, requests) -> tuple[list[int], list[int]]:
    with open_results(requests, out) as (stream, earlier):
        stream.write(b"")
        return [entry.line for entry in earlier.done], list(earlier.damaged)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "r.jsonl").write_text("{}\n")
    return tmp_path / "s.jsonl", tmp_path / "r.jsonl"


def test_a_spare_file_that_a_killed_run_left_is_never_appended_to(files):
    """In a container each start has the same process number."""
    out, requests = files
    out.write_bytes(b"".join(SCORED) + FAILED)
    for name in (f".{out.name}.tmp", f".{out.name}.{os.getpid()}.tmp"):
        out.with_name(name).write_bytes(b"".join(SCORED))
    assert reopen(out, requests) == ([1, 2, 3], [])
    assert out.read_bytes() == b"".join(SCORED)


def test_lines_that_stand_twice_count_once(files):
    """As they do where an earlier version went on after a kill in a container."""
    out, requests = files
    out.write_bytes(b"".join(SCORED * 2))
    assert reopen(out, requests) == ([1, 2, 3], [])
    assert out.read_bytes() == b"".join(SCORED)


@pytest.mark.parametrize(
    "damage", [b"\0" * 300, b"\xff" + SCORED[1][1:-1], SCORED[1][:20], SCORED[1][30:-1], b"", b'{"line": "x"}']
)
def test_a_damaged_line_costs_itself_alone(damage, files):
    out, requests = files
    out.write_bytes(SCORED[0] + damage + b"\n" + SCORED[2])
    assert reopen(out, requests) == ([1, 3], [2])
    assert out.read_bytes() == SCORED[0] + SCORED[2]


@pytest.mark.parametrize("tail", [b"\0" * 4096, SCORED[1][:-9], b"{"])
def test_what_a_kill_or_a_loss_of_power_leaves_at_the_end_is_cut_off(tail, files):
    out, requests = files
    out.write_bytes(SCORED[0] + tail)
    assert reopen(out, requests)[0] == [1]
    assert out.read_bytes() == SCORED[0]


def test_a_file_of_something_else_is_not_touched(files):
    out, requests = files
    notes = b"my notes\n" * 3 + SCORED[0]
    out.write_bytes(notes)
    with pytest.raises(RequestError, match="holds something else than results"):
        reopen(out, requests)
    assert out.read_bytes() == notes


def test_a_file_that_is_removed_or_replaced_by_its_owner_is_opened_anew(tmp_path):
    file = tmp_path / "lock"
    first = open_locked(file)
    with pytest.raises(RequestError, match="Another process writes to"):
        open_locked(file)
    file.unlink()
    first.close()
    with open_locked(file) as second:
        assert os.path.samestat(os.fstat(second.fileno()), file.stat())


def test_many_that_want_a_file_that_is_removed_each_time_have_it_one_at_a_time(tmp_path):
    """Each removes it in the end, so that another may have opened what is no longer there."""
    file, inside, most, done = tmp_path / "lock", [], [0], [0]

    def take() -> None:
        while done[0] < 60:
            try:
                stream = open_locked(file)
            except RequestError:
                continue
            with stream:
                inside.append(1)
                most[0] = max(most[0], len(inside))
                done[0] += 1
                inside.pop()
                file.unlink()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
