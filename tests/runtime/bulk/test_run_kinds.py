"""Kinds of shards that copies, links and other tools leave: each is scored, or said to be left out."""

from __future__ import annotations

import json

import pytest
from commands import run_here
from shard_files import read_shard, requests, write_shard

pa = pytest.importorskip("pyarrow")
zstandard = pytest.importorskip("zstandard")
import pyarrow.parquet  # noqa: E402

ROWS = requests(4)


@pytest.fixture
def files(bundle, tmp_path):
    write_shard(tmp_path / "in" / "a.jsonl", ROWS)
    return bundle("merged", "assistant"), tmp_path / "in", "--out", tmp_path / "out"


def states(tmp_path) -> dict[str, dict]:
    return json.loads((tmp_path / "out" / "run.json").read_text())["shards"]


@pytest.mark.parametrize("name", ["b.parquet", "b.jsonl.gz", "b.jsonl.zst"])
def test_an_empty_file_is_a_copy_that_failed(name, files, tmp_path):
    (tmp_path / "in" / name).touch()
    done = run_here("yoj-score", *files)
    assert done.returncode == 1
    assert f"{name} is left out, and the run goes on: it is empty" in done.stderr
    assert states(tmp_path)[name]["state"] == "failed"
    assert not (tmp_path / "out" / name).exists()


def test_an_empty_file_of_lines_has_no_rows(files, tmp_path):
    (tmp_path / "in" / "b.jsonl").touch()
    assert run_here("yoj-score", *files).returncode == 0
    assert (tmp_path / "out" / "b.jsonl").read_bytes() == b""


def test_what_is_called_parquet_and_is_not_is_damaged(files, tmp_path):
    (tmp_path / "in" / "b.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")
    done = run_here("yoj-score", *files)
    assert done.returncode == 1
    assert "b.parquet is left out, and the run goes on" in done.stderr
    assert not (tmp_path / "out" / "b.jsonl").exists()


def test_a_first_frame_that_readers_skip_is_skipped(files, tmp_path):
    text = (tmp_path / "in" / "a.jsonl").read_bytes()
    (tmp_path / "in" / "b.jsonl.zst").write_bytes(b"\x5d*M\x18\x05\0\0\0a\nb\nc" + zstandard.compress(text))
    done = run_here("yoj-score", *files)
    assert done.returncode == 0, done.stderr
    found = [read_shard(tmp_path / "out" / "a.jsonl")]
    found += [[json.loads(one) for one in zstandard.decompress((tmp_path / "out" / "b.jsonl.zst").read_bytes(), 2**20)
               .splitlines()]]  # fmt: skip
    assert [row["scores"] for row in found[0]] == [row["scores"] for row in found[1]]


def test_links_to_folders_and_to_nothing_are_told(files, tmp_path):
    write_shard(tmp_path / "other" / "c.jsonl", ROWS)
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "other", target_is_directory=True)
    done = run_here("yoj-score", *files)
    assert done.returncode == 0
    assert "passed over, as no shards by their names or as links to folders: 1" in done.stderr
    (tmp_path / "in" / "gone.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    done = run_here("yoj-score", *files)
    assert done.returncode == 2
    assert "gone.jsonl is a link to a file that is not there. Remove it." in done.stderr


def test_types_that_differ_without_loss_are_one_table(bundle, tmp_path):
    """As pandas and other writers make of one column: nothing but nulls, large texts, narrower numbers."""
    (tmp_path / "in").mkdir()
    texts, ids = [row["prompt"] for row in ROWS], [row["id"] for row in ROWS]
    responses = [row["responses"] for row in ROWS]
    large = pa.large_list(pa.large_string())
    for name, columns in {
        "a": {"id": pa.array(ids), "kept": pa.array([1, 2, 3, 4], pa.int64()), "responses": pa.array(responses)},
        "b": {"id": pa.array(ids, pa.large_string()), "kept": pa.array([5, 6, 7, 8], pa.int32()),
              "responses": pa.array(responses, large)},
        "c": {"id": pa.array([1, 2, 3, 4]), "kept": pa.nulls(4), "responses": pa.array(responses)},
    }.items():  # fmt: skip
        table = pa.table({"prompt": pa.array(texts), **columns})
        pyarrow.parquet.write_table(table, tmp_path / "in" / f"{name}.parquet")
    out = tmp_path / "out"
    done = run_here(
        "yoj-score", bundle("merged", "assistant"), tmp_path / "in", "--out", out, "--best", "--keep", "kept"
    )
    assert done.returncode == 0, done.stderr
    table = pa.concat_tables(pyarrow.parquet.read_table(one) for one in sorted(out.glob("*.parquet")))  # of one schema
    assert table["kept"].to_pylist() == [1, 2, 3, 4, 5, 6, 7, 8, None, None, None, None]
    assert table["id"].to_pylist() == [*ids, *ids, "1", "2", "3", "4"]


def test_a_shard_that_was_done_and_is_another_now_is_not_called_done(files, tmp_path):
    assert run_here("yoj-score", *files).returncode == 0
    before = (tmp_path / "in" / "a.jsonl").read_bytes()
    write_shard(tmp_path / "in" / "a.jsonl", requests(3, 10))
    done = run_here("yoj-score", *files)
    assert done.returncode == 1
    assert "0 of 0 rows scored" in done.stderr
    assert states(tmp_path)["a.jsonl"]["state"] == "failed"
    (tmp_path / "in" / "a.jsonl").write_bytes(before)
    assert run_here("yoj-score", *files).returncode == 0
    assert states(tmp_path)["a.jsonl"] | {"state": "done", "reason": ""} == states(tmp_path)["a.jsonl"]


def test_names_that_mislead_and_what_would_be_dropped_are_refused(files, tmp_path):
    judge, shards, *_ = files
    table = write_shard(tmp_path / "t.parquet", ROWS)
    for words, said in {
        (table, "--out", tmp_path / "x.csv"): "x.csv has the name of no format that is written",
        ("-", "--out", tmp_path / "x.parquet"): "Standard input (-) is JSON lines alone",
        (shards, "--out", tmp_path / "out", "--best", "--rationale", "best"): "write no rationales",
        (f"{tmp_path}/**/*.jsonl", "--out", tmp_path): "which a pattern names",
    }.items():
        done = run_here("yoj-score", judge, *words)
        assert done.returncode == 2, (words, done.stderr)
        assert said in " ".join(done.stderr.split())


def test_the_share_of_right_answers_is_told(files, bundle, scorer, tmp_path):
    judge = scorer("merged", "assistant")
    ranked = []
    for row in ROWS:
        scores = judge.score(row["prompt"], row["responses"]).scores
        ranked.append(row | {"rankings": [1 + sum(other > score for other in scores) for score in scores]})
    ranked[0]["rankings"] = ranked[0]["rankings"][::-1]
    write_shard(tmp_path / "in" / "a.jsonl", ranked)
    done = run_here("yoj-score", *files)
    assert "best response right in 75.0% of 4 rows with rankings" in done.stderr
