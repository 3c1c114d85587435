"""Reports of a run: a line that is written over on a terminal, whole lines in a log."""

from __future__ import annotations

import io

import pytest

from yoj.runtime.bulk import _progress
from yoj.runtime.bulk._progress import RunProgress


class Clock:
    now = 1000.0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_progress.time, "monotonic", lambda: clock.now)
    return clock


def advance(progress: RunProgress, clock: Clock, rows: int, failed: int = 0) -> None:
    for row in range(rows):
        clock.now += 0.1
        progress.advance(row < failed)


def test_a_log_has_a_line_every_ten_seconds(clock):
    log = io.StringIO()
    progress = RunProgress(log, lambda: 0.913)
    progress.expect("a", 1000, 400)
    progress.found(40)
    advance(progress, clock, 210, failed=2)
    progress.close()
    assert log.getvalue().splitlines() == [
        "140 of 400 rows, 10.0 rows/s, engine busy 91%, 2 failed, 26 s to come",
        "240 of 400 rows, 10.0 rows/s, engine busy 91%, 2 failed, 16 s to come",
    ]


def test_a_terminal_has_one_line(clock):
    terminal = Terminal()
    progress = RunProgress(terminal)
    progress.expect("a", 1000)
    advance(progress, clock, 12)
    progress.close()
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().split("\r\x1b[K")[1:] == ["5 rows, 10.0 rows/s", "10 rows, 10.0 rows/s\n"]


def test_shards_that_were_not_looked_into_are_estimated_by_their_size(clock):
    progress = RunProgress(io.StringIO())
    progress.expect("a", 1000, 400)
    progress.expect("b", 500)
    advance(progress, clock, 100)
    assert progress.text() == "100 of about 600 rows, 10.0 rows/s, 50 s to come"
    progress.expect("b", 500, 10_000_000)
    assert progress.text().startswith("100 of 10,000,400 rows")
    assert progress.text().endswith("277.8 h to come")
