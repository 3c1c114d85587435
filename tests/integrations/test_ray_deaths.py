"""What processes died of is known to those that come after them, and to no other run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from yoj.integrations._ray_deaths import Deaths


def die(folder, key):
    code = (
        "import os, pathlib; from yoj.integrations._ray_deaths import Deaths\n"
        f"with Deaths(pathlib.Path({str(folder)!r})).busy({key!r}): os._exit(17)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 17


@pytest.mark.slow
def test_deaths_count_until_somebody_has_done_it(tmp_path):
    deaths = Deaths(tmp_path / "run")
    for count in range(3):
        assert deaths.count("a") == count
        die(deaths.folder, "a")
    die(deaths.folder, "b")
    with deaths.busy("a"):
        assert deaths.count("a") == 3
    assert deaths.count("a") == 0
    assert deaths.count("b") == 1
    assert Deaths(tmp_path / "other").count("b") == 0


def test_an_error_is_no_death_nor_is_a_process_that_lives(tmp_path):
    deaths = Deaths(tmp_path)
    with pytest.raises(ZeroDivisionError), deaths.busy("a"):
        raise ZeroDivisionError
    assert [*tmp_path.iterdir()] == []
    with subprocess.Popen(["sleep", "60"]) as other:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / str(other.pid)).touch()
        with deaths.busy("a"):
            assert deaths.count("a") == 0
        assert [note.name for note in (tmp_path / "a").iterdir()] == [str(other.pid)]
        other.kill()
    assert deaths.count("a") == 1
