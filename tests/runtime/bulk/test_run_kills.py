"""Kills at every kind of moment: nothing is lost, nothing stands twice, and a rerun finishes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from commands import run_here
from shard_files import PICTURE, in_a_process, read_shard, requests, write_shard

pytest.importorskip("pyarrow")
NUMBER = "import os; os.getpid = lambda: 1"
"""Process number of every start in a container."""
POINTS = {
    "before the results take their place": "P.replace = lambda a, b: end() if 'run.json' not in str(b) else real(a, b)",
    "before the manifest knows": "P.replace = lambda a, b: (real(a, b), 'run.json' in str(b) or end())",
    "before the journal is removed": "P.unlink = lambda a, **k: end() if a.suffix == '.journal' else gone(a, **k)",
    "in the middle of a line of the journal": "os.write = lambda f, t: (half(f, bytes(t[:70])), end())",
}
PATCH = "from pathlib import Path as P; real, gone, half, end = P.replace, P.unlink, os.write, lambda: os._exit(9)"


@pytest.fixture
def files(bundle, tmp_path):
    rows = [*requests(30), {"prompt": "broken", "responses": []}, *requests(29, 30)]
    write_shard(tmp_path / "in" / "a.parquet", rows)
    write_shard(tmp_path / "in" / "b.jsonl", rows)
    return bundle("merged", "assistant"), tmp_path / "in", "--out", tmp_path / "out"


def check(files, scorer) -> None:
    """Every row once and in order, with the scores of a plain loop, and nothing else left."""
    *_, out = files
    rows = requests(59)
    judge = scorer("merged", "assistant")
    loop = [judge.score(row["prompt"], row["responses"]).scores for row in rows]
    for name in ("a.parquet", "b.jsonl"):
        found = read_shard(out / name)
        assert [row["line"] for row in found] == list(range(1, 61))
        assert [row["line"] for row in found if row.get("error") is not None] == [31]
        good = [row for row in found if row.get("error") is None]
        assert [row["id"] for row in good] == [row["id"] for row in rows]
        assert [row["scores"] for row in good] == [pytest.approx(scores, abs=1e-4) for scores in loop]
    left = [".a.parquet.journal", ".b.jsonl.journal", "a.parquet", "b.jsonl", "run.json"]  # a row failed in each
    assert sorted(one.name for one in out.iterdir()) == left


@pytest.mark.slow
def test_a_run_that_is_killed_at_random_moments(files, scorer):
    *_, out = files
    code = f"{NUMBER}; from yoj.runtime.cli import main; main()"
    moments = random.Random(0)
    kills = 0
    while True:
        before = sum(file.stat().st_size for file in out.glob(".*.journal"))
        process = subprocess.Popen([sys.executable, "-c", code, *map(str, files)], stderr=subprocess.DEVNULL)
        if kills < 4:
            while process.poll() is None and sum(file.stat().st_size for file in out.glob(".*.journal")) <= before:
                time.sleep(0.001)
            time.sleep(moments.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            kills += 1
        if process.wait() != -signal.SIGKILL:
            break
    assert process.returncode == 1
    check(files, scorer)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_is_killed_at_the_worst_moments(point, files, scorer):
    *_, out = files
    killed = in_a_process(f"{NUMBER}; {PATCH}; {POINTS[point]}", *files)
    if point != "before the journal is removed":
        assert killed.returncode == 9, killed.stderr
    (out / ".a.parquet.tmp").write_bytes(b"left over by an earlier run" * 99)
    (out / ".run.json.tmp").write_bytes(b"{" * 99)
    done = run_here("yoj-score", *files)
    assert done.returncode == 1
    assert "118 of 120 rows scored, 2 failed" in done.stderr
    check(files, scorer)


def test_the_journal_goes_when_all_rows_are_scored(bundle, tmp_path):
    file = write_shard(tmp_path / "a.parquet", requests(3))
    words = (bundle("merged", "assistant"), file, "--out", f"{tmp_path}/out/")
    killed = in_a_process(f"{NUMBER}; {PATCH}; {POINTS['before the journal is removed']}", *words)
    assert killed.returncode == 9, killed.stderr
    assert (tmp_path / "out" / ".a.parquet.journal").exists()
    before = (tmp_path / "out" / "a.parquet").read_bytes()
    done = run_here("yoj-score", *words)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["a.parquet", "run.json"]
    assert (tmp_path / "out" / "a.parquet").read_bytes() == before
    assert "rows now" not in done.stderr


def test_the_command_in_a_container_does_not_write_lines_twice(bundle, tmp_path):
    """One file of JSON lines to another: the spare file of a killed start has the number of the next."""
    file = write_shard(tmp_path / "a.jsonl", [*requests(3), {"prompt": "broken", "responses": []}])
    out = tmp_path / "s.jsonl"
    words = (bundle("merged", "assistant"), file, "--out", out)
    assert run_here("yoj-score", *words).returncode == 1
    killed = in_a_process(f"{NUMBER}; {PATCH}; P.replace = lambda a, b: end()", *words)
    assert killed.returncode == 9, killed.stderr
    assert (tmp_path / ".s.jsonl.tmp").exists()
    done = in_a_process(NUMBER, *words)
    assert "3 of 4 requests scored, 1 failed, 3 of them in an earlier run" in done.stderr
    assert [row["line"] for row in read_shard(out)] == [1, 2, 3, 4]


def test_a_rerun_of_failed_rows_goes_on_though_it_was_killed_when_its_results_took_their_place(bundle, tmp_path):
    rows = [*requests(5), {"prompt": "p", "responses": ["a", "b"], "image": "late.png"}]
    write_shard(tmp_path / "in" / "a.jsonl", rows)
    words = bundle("merged", "assistant"), tmp_path / "in", "--out", tmp_path / "out"
    assert run_here("yoj-score", *words).returncode == 1
    (tmp_path / "in" / "late.png").write_bytes(PICTURE.read_bytes())
    killed = in_a_process(f"{NUMBER}; {PATCH}; {POINTS['before the manifest knows']}", *words)
    assert killed.returncode == 9, killed.stderr
    done = run_here("yoj-score", *words)
    assert done.returncode == 0, done.stderr
    found = read_shard(tmp_path / "out" / "a.jsonl")
    assert [row["line"] for row in found] == list(range(1, 7))
    assert not any("error" in row for row in found)
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["a.jsonl", "run.json"]
