"""Bad shards, full disks, other settings: the run goes on or stops with what is done kept, and a rerun finishes it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run_here
from shard_files import PICTURE, in_a_process, read_shard, requests, write_shard

pytest.importorskip("pyarrow")
ROWS = requests(8)


@pytest.fixture
def judge(bundle):
    return bundle("merged", "assistant")


@pytest.fixture
def files(judge, tmp_path):
    for name in "abc":
        write_shard(tmp_path / "in" / f"{name}.parquet", ROWS)
    return judge, tmp_path / "in", "--out", tmp_path / "out"


def state(out: Path, name: str) -> dict:
    return json.loads((out / "run.json").read_text())["shards"][name]


def lines(file: Path) -> list[int]:
    return [row["line"] for row in read_shard(file)]


def test_a_corrupt_shard_is_left_out_and_the_others_are_scored(files, tmp_path):
    whole = (tmp_path / "in" / "b.parquet").read_bytes()
    (tmp_path / "in" / "b.parquet").write_bytes(whole[:-50])
    done = run_here("yoj-score", *files)
    assert done.returncode == 1
    assert "b.parquet is left out, and the run goes on: it cannot be read as Parquet" in done.stderr
    assert "missing: all rows of b.parquet: it cannot be read as Parquet" in done.stderr
    assert "16 of 16 rows scored, 0 failed; results of 2 of 3 shards" in done.stderr
    assert (state(tmp_path / "out", "b.parquet")["state"], (tmp_path / "out" / "b.parquet").exists()) == (
        "failed",
        False,
    )
    (tmp_path / "in" / "b.parquet").write_bytes(whole)
    again = run_here("yoj-score", *files)
    assert again.returncode == 0, again.stderr
    assert "24 of 24 rows scored, 0 failed; results of 3 of 3 shards" in again.stderr
    assert "8 rows now" in again.stderr
    assert lines(tmp_path / "out" / "b.parquet") == list(range(1, 9))


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_a_cut_shard_is_named_before_any_of_its_rows_is_scored(suffix, judge, tmp_path):
    file = write_shard(tmp_path / "in" / f"a{suffix}", requests(300))
    file.write_bytes(file.read_bytes()[:-20])
    done = run_here("yoj-score", judge, tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert f"a{suffix} is left out, and the run goes on: it is a damaged" in done.stderr
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["run.json"]


def test_a_shard_of_another_schema_is_left_out(files, tmp_path):
    write_shard(tmp_path / "in" / "b.parquet", [{"question": "p", "answers": ["a"]}])
    write_shard(tmp_path / "in" / "a.parquet", [row | {"id": number} for number, row in enumerate(ROWS)])
    write_shard(tmp_path / "in" / "c.parquet", ROWS)
    done = run_here("yoj-score", *files)
    assert done.returncode == 1
    assert "missing: all rows of b.parquet: there is no column 'prompt'" in done.stderr
    assert (
        "missing: 8 rows of c.parquet: the column 'id' is of the type string here and of the type int64 in"
        in done.stderr
    )
    assert lines(tmp_path / "out" / "a.parquet") == list(range(1, 9))


def test_a_kept_column_of_another_type_is_another_schema(files, tmp_path):
    for name, value in {"a": 1, "b": "one", "c": 2}.items():
        write_shard(tmp_path / "in" / f"{name}.parquet", [row | {"n": value} for row in ROWS[:2]])
    done = run_here("yoj-score", *files, "--keep", "n")
    assert done.returncode == 1
    assert (
        "missing: 2 rows of b.parquet: the column 'n' is of the type string here and of the type int64 in"
        in done.stderr
    )
    assert [row["n"] for row in read_shard(tmp_path / "out" / "c.parquet")] == [2, 2]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_full_disk_stops_the_run_and_a_rerun_finishes_it(suffix, judge, tmp_path):
    """A disk of 16 KiB, or where none can be mounted a limit on the size of a file."""
    for name in "ab":
        write_shard(tmp_path / "in" / f"{name}.{suffix}", requests(40))
    out = tmp_path / "out"
    out.mkdir()
    words = (judge, tmp_path / "in", "--out", out)
    mounted = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", out], capture_output=True).returncode == 0
    )
    try:
        limit = "" if mounted else "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))"
        done = in_a_process(limit, *words)
        assert done.returncode == 1
        assert "Results cannot be written any more: [Errno" in done.stderr
        assert "What was done is kept: " in done.stderr
        assert "Shards without their results: 2 of 2, the first a." in done.stderr
        assert "Traceback" not in done.stderr
        kept = tmp_path / "kept"
        shutil.copytree(out, kept)
    finally:
        if mounted:
            subprocess.run(["umount", out], check=True)
    shutil.copytree(kept, out, dirs_exist_ok=True)
    journal = (out / f".a.{suffix}.journal").read_bytes()
    assert journal.count(b"\n") > 2
    assert journal.endswith(b"\n")
    done = run_here("yoj-score", *words)
    assert done.returncode == 0, done.stderr
    assert (
        f"80 of 80 rows scored, 0 failed; results of 2 of 2 shards in {out}; {80 - journal.count(10)} rows now"
        in done.stderr
    )
    for name in "ab":
        assert lines(out / f"{name}.{suffix}") == list(range(1, 41))


def test_damaged_lines_of_a_journal_cost_themselves_alone(files, tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [*ROWS, {"prompt": "broken", "responses": []}])
    assert run_here("yoj-score", *files).returncode == 1
    journal = tmp_path / "out" / ".a.parquet.journal"
    content = bytearray(journal.read_bytes())
    place = content.index(b'"scores":[', content.index(b'"line":3')) + 12
    content[place] ^= 1  # another digit: JSON as good as before
    journal.write_bytes(bytes(content) + b"\0" * 4096)
    before = read_shard(tmp_path / "out" / "a.parquet")
    done = run_here("yoj-score", *files)
    assert done.returncode == 1
    assert "damaged lines of journals, whose rows were scored again: 1" in done.stderr
    assert "2 rows now" in done.stderr
    after = read_shard(tmp_path / "out" / "a.parquet")
    assert [row["scores"] for row in after] == [
        row["scores"] and pytest.approx(row["scores"], abs=1e-5) for row in before
    ]


def test_failed_rows_are_tried_again_and_the_others_are_not(files, tmp_path):
    rows = [*(row | {"image": None} for row in ROWS), ROWS[0] | {"image": "late.png"}]
    write_shard(tmp_path / "in" / "a.parquet", rows)
    assert run_here("yoj-score", *files).returncode == 1
    assert [row["line"] for row in read_shard(tmp_path / "out" / "a.parquet") if row["error"]] == [9]
    (tmp_path / "in" / "late.png").write_bytes(PICTURE.read_bytes())
    done = run_here("yoj-score", *files)
    assert done.returncode == 0, done.stderr
    assert "25 of 25 rows scored, 0 failed" in done.stderr
    assert "1 rows now" in done.stderr
    assert lines(tmp_path / "out" / "a.parquet") == list(range(1, 10))
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mode", "isolated"], "mode was 'joint' and is 'isolated'"),
        (["--best"], "best was False and is True"),
        (["--keep", "id2"], "keep was [] and is ['id2']"),
        (["--format", "jsonl"], "format was None and is 'jsonl'"),
    ],
)
def test_results_of_other_settings_are_refused(words, said, files, tmp_path):
    for name in "abc":
        write_shard(tmp_path / "in" / f"{name}.parquet", [row | {"id2": 1} for row in ROWS[:2]])
    assert run_here("yoj-score", *files).returncode == 0
    before = (tmp_path / "out" / "a.parquet").read_bytes()
    done = run_here("yoj-score", *files, *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert (tmp_path / "out" / "a.parquet").read_bytes() == before


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_a_run_that_scored_nothing_takes_other_settings(suffix, files, tmp_path):
    shutil.rmtree(tmp_path / "in")
    rows = [{"question": row["prompt"], "responses": row["responses"]} for row in ROWS[:2]]
    write_shard(tmp_path / "in" / f"a{suffix}", rows)
    first = run_here("yoj-score", *files)
    assert first.returncode == 1
    assert "0 of 2 rows scored" in first.stderr or "question=prompt" in first.stderr
    again = run_here("yoj-score", *files, "--rename", "question=prompt", "--best")
    assert again.returncode == 0, again.stderr
    assert lines(tmp_path / "out" / f"a{suffix}") == [1, 2]


@pytest.mark.parametrize("words", [["--ignore-field", "scene"], ["--ignore-unknown"], ["--rename", "scene=image"]])
def test_pictures_that_are_not_read_are_refused_where_the_judge_would_be_shown_none(words, files, tmp_path):
    shutil.rmtree(tmp_path / "in")
    rows = [row | {"scene": {"bytes": PICTURE.read_bytes(), "path": "a.png"}} for row in ROWS[:2]]
    write_shard(tmp_path / "in" / "a.parquet", rows)
    done = run_here("yoj-score", *files)
    assert done.returncode == 1
    assert "the column 'scene' holds pictures, and none is read. Give --rename scene=image, or" in done.stderr
    assert run_here("yoj-score", *files, *words).returncode == 0


def test_results_of_another_bundle_are_refused(files, bundle, tmp_path):
    assert run_here("yoj-score", *files).returncode == 0
    done = run_here("yoj-score", bundle("merged", "user"), *files[1:])
    assert done.returncode == 1
    assert "bundle_sha256 was" in done.stderr


def test_a_shard_that_was_changed_is_refused_and_one_that_was_touched_is_not(files, tmp_path):
    assert run_here("yoj-score", *files).returncode == 0
    shutil.copy(tmp_path / "in" / "a.parquet", tmp_path / "in" / "b.parquet")  # the same content at another time
    write_shard(tmp_path / "in" / "c.parquet", requests(8, first=50))
    done = run_here("yoj-score", *files)
    assert done.returncode == 1
    assert "c.parquet is left out, and the run goes on: its file is another one than that whose results" in done.stderr
    assert "b.parquet is left out" not in done.stderr
    (tmp_path / "out" / "c.parquet").unlink()
    done = run_here("yoj-score", *files)
    assert done.returncode == 0, done.stderr
    assert read_shard(tmp_path / "out" / "c.parquet")[0]["id"] == "r50"


def test_another_input_in_the_middle_of_a_shard_is_noticed(judge, tmp_path):
    file = write_shard(tmp_path / "a.parquet", [*ROWS, {"prompt": "broken", "responses": []}])
    words = (judge, file, "--out", f"{tmp_path}/out/")
    assert run_here("yoj-score", *words).returncode == 1
    (tmp_path / "out" / "a.parquet").unlink()
    (tmp_path / "out" / "run.json").unlink()
    write_shard(file, requests(9, first=50))
    done = run_here("yoj-score", *words)
    assert done.returncode == 1
    assert "row 1 is another request than the one that an earlier run scored" in done.stderr


def test_files_that_no_run_has_written_are_not_written_over(files, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.parquet").write_text("years of work")
    done = run_here("yoj-score", *files)
    assert done.returncode == 1
    assert "b.parquet is there, and no run of this folder has written it" in done.stderr
    assert (tmp_path / "out" / "b.parquet").read_text() == "years of work"
    assert lines(tmp_path / "out" / "c.parquet") == list(range(1, 9))


def test_results_that_were_changed_are_not_written_over(files, tmp_path):
    assert run_here("yoj-score", *files).returncode == 0
    (tmp_path / "out" / "b.parquet").write_text("changed")
    done = run_here("yoj-score", *files)
    assert done.returncode == 1
    assert "b.parquet was changed since it was written" in done.stderr
    assert (tmp_path / "out" / "b.parquet").read_text() == "changed"


def test_two_runs_into_one_folder_are_refused(files, tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [row | {"prompt": "word " * 400} for row in requests(200)])
    code = "from yoj.runtime.cli import main; main()"
    first = subprocess.Popen([sys.executable, "-c", code, *map(str, files)], stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "out" / ".a.parquet.journal"
    while first.poll() is None and not (journal.exists() and journal.stat().st_size):
        pass
    whole = run_here("yoj-score", *files)
    part = run_here("yoj-score", *files, "--shard", "1/3")
    assert first.poll() is None
    first.kill()
    first.communicate()
    assert (whole.returncode, part.returncode) == (1, 1)
    assert "run.json.lock. Wait for it" in whole.stderr
    assert "a.parquet is left out, and the run goes on: another process scores it" in part.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--best", "--top", "2", "--out", "o"], "give one of them"),
        (["--top", "2", "--n-method", "knockout", "--out", "o"], "need scores"),
        (["--shard", "4/3", "--out", "o"], "give I/N"),
        (["--rename", "x", "--out", "o"], "give OLD=NEW"),
        ([], "Give --out"),
        (["none.parquet", "--out", "o"], "none.parquet is no file"),
        (["--dump-inputs", "d", "--out", "o"], "--dump-inputs is for one request"),
        (["-", "--out", "o"], "Standard input (-) is JSON lines alone"),
    ],
)
def test_wrong_commands_are_usage_errors(words, said, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_here("yoj-score", *files[:2], *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--keep", "scores"], "'scores' would be kept, and results have a column of this name"),
        (["--keep", "none"], "there is no column 'none' to keep; there are 'id', 'prompt', 'responses'"),
    ],
)
def test_columns_that_cannot_be_kept_are_told_before_anything_is_scored(words, said, files, tmp_path):
    done = run_here("yoj-score", *files, *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert not list((tmp_path / "out").glob("*"))
