"""Journals: what is kept when a run is killed, when a disk is damaged, and when two processes write."""

from __future__ import annotations

import json
import multiprocessing

import pytest

from yoj.runtime import RequestError
from yoj.runtime._jsonl import Done
from yoj.runtime.bulk._journal import FAILED, SCORED, Journal
from yoj.runtime.bulk._rows import RowResult
from yoj.runtime.bulk._shards import ShardError


def result(number: int, error: bool = False, digest: int | None = None, run: str = "r") -> RowResult:
    done = Done(number, f"{number if digest is None else digest:016x}", run, None if error else 1)
    done.error = {"message": "no"} if error else None
    fields = {"line": number, "request": done.request, "run": run} | ({"error": done.error} if error else {"best": 1})
    return RowResult(json.dumps(fields).encode() + b"\n", done)


def fill(file, *numbers: int) -> list[bytes]:
    with Journal(file, {"r"}) as journal:
        for number in numbers:
            journal.append(result(number))
    return file.read_bytes().splitlines(keepends=True)


def states(file) -> tuple[list[int], int]:
    with Journal(file, {"r"}) as journal:
        return list(journal.numbers()), journal.damaged


def test_what_was_appended_is_there_the_next_time(tmp_path):
    fill(tmp_path / "j", 1, 2, 5)
    with Journal(tmp_path / "j", {"r"}) as journal:
        assert list(journal.numbers()) == [1, 2, 5]
        assert [journal.has(number, f"{number:016x}") for number in (1, 2, 3, 5, 9)] == [True, True, False, True, False]
        assert json.loads(journal.line(5))["line"] == 5
        journal.append(result(3))
        assert json.loads(journal.line(3))["line"] == 3
        assert json.loads(journal.line(2))["line"] == 2
    assert states(tmp_path / "j") == ([1, 2, 3, 5], 0)


def test_a_failed_row_is_tried_again_and_its_last_result_counts(tmp_path):
    with Journal(tmp_path / "j", {"r"}) as journal:
        journal.append(result(1, error=True))
        assert not journal.has(1, f"{1:016x}")
        assert (journal.count(FAILED), journal.count(SCORED)) == (1, 0)
        journal.append(result(1))
        assert journal.has(1, f"{1:016x}")
    with Journal(tmp_path / "j", {"r"}) as journal:
        assert (journal.count(FAILED), journal.count(SCORED)) == (0, 1)
        assert json.loads(journal.line(1))["best"] == 1


def test_a_half_written_line_is_cut_off_wherever_it_ends(tmp_path):
    *before, last = fill(tmp_path / "whole", 1, 2, 3)
    for length in range(len(last)):
        file = tmp_path / f"j{length}"
        file.write_bytes(b"".join(before) + last[:length])
        assert states(file) == ([1, 2], 0)
        assert file.read_bytes() == b"".join(before)


@pytest.mark.parametrize("place", [0, 3, 10, 30, -3, -12])
def test_a_damaged_line_costs_itself_alone(place, tmp_path):
    lines = fill(tmp_path / "j", 1, 2, 3)
    damaged = bytearray(lines[1])
    damaged[place] ^= 4
    (tmp_path / "j").write_bytes(lines[0] + damaged + lines[2])
    assert states(tmp_path / "j") == ([1, 3], 1)
    fill(tmp_path / "j", 2)
    assert states(tmp_path / "j") == ([1, 2, 3], 1)


@pytest.mark.parametrize("junk", [b"\0" * 5000, b"\0" * 5000 + b"\n", b"something else\n", b"\xff\xfe\n"])
def test_junk_between_and_behind_the_lines_is_passed_over(junk, tmp_path):
    lines = fill(tmp_path / "j", 1, 2)
    (tmp_path / "j").write_bytes(lines[0] + lines[1] + junk)
    fill(tmp_path / "j", 3)
    assert states(tmp_path / "j")[0] == [1, 2, 3]


def test_another_row_of_the_same_number_is_noticed(tmp_path):
    fill(tmp_path / "j", 1)
    with Journal(tmp_path / "j", {"r"}) as journal, pytest.raises(ShardError, match="row 1 is another request"):
        journal.has(1, f"{2:016x}")


def test_results_of_other_settings_do_not_mix(tmp_path):
    fill(tmp_path / "j", 1)
    with pytest.raises(RequestError, match="would not compare"):
        Journal(tmp_path / "j", {"other"})


def _hold(file, ready, leave) -> None:
    with Journal(file, {"r"}):
        ready.set()
        leave.wait(60)


def test_two_processes_do_not_write_one_journal(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    ready, leave = spawn.Event(), spawn.Event()
    other = spawn.Process(target=_hold, args=(tmp_path / "j", ready, leave))
    other.start()
    assert ready.wait(60)
    with pytest.raises(RequestError, match="Another process writes to"):
        Journal(tmp_path / "j", {"r"})
    leave.set()
    other.join()
    fill(tmp_path / "j", 1)


def test_a_journal_that_is_changed_while_it_is_read_is_noticed(tmp_path):
    with Journal(tmp_path / "j", {"r"}) as journal:
        journal.append(result(1))
        (tmp_path / "j").write_bytes(b"x" * 40)
        with pytest.raises(OSError, match="was changed while it was read"):
            journal.line(1)
