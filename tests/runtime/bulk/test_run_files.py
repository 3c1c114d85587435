"""Whole runs of ``yoj-score`` over shards: every format in and out, against a plain loop over `Scorer.score`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import run_here
from shard_files import PICTURE, SUFFIXES, read_shard, requests, write_shard

pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("zstandard")
ROWS = requests(12)
BYTES = PICTURE.read_bytes()


@pytest.fixture
def judge(bundle):
    return bundle("merged", "assistant")


@pytest.fixture
def expected(scorer):
    """expected(rows) -> scores of each, one after the other."""

    def plain_loop(rows):
        scorer_ = scorer("merged", "assistant")
        return [scorer_.score(row["prompt"], row["responses"], images=row.get("bytes", [])).scores for row in rows]

    return plain_loop


def check(rows: list[dict], expected: list[tuple[float, ...]]) -> None:
    """Every row once and in order, with the scores of a plain loop."""
    assert [row["line"] for row in rows] == list(range(1, len(expected) + 1))
    assert [row["scores"] for row in rows] == [pytest.approx(scores, abs=1e-4) for scores in expected]


def manifest(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def test_every_format_is_read_and_its_results_have_the_same(judge, expected, tmp_path):
    for number, suffix in enumerate(SUFFIXES):
        write_shard(tmp_path / "in" / f"part{number}{suffix}", ROWS[number * 3 : number * 3 + 3])
    done = run_here("yoj-score", judge, tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "12 of 12 rows scored, 0 failed; results of 4 of 4 shards" in done.stderr
    loop = expected(ROWS)
    for number, suffix in enumerate(SUFFIXES):
        rows = read_shard(tmp_path / "out" / f"part{number}{suffix}")
        check(rows, loop[number * 3 : number * 3 + 3])
        assert [row["id"] for row in rows] == [row["id"] for row in ROWS[number * 3 : number * 3 + 3]]
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [
        *(f"part{number}{suffix}" for number, suffix in enumerate(SUFFIXES)),
        "run.json",
    ]


@pytest.mark.parametrize("written", [suffix.removeprefix(".") for suffix in SUFFIXES])
def test_results_are_written_in_the_format_that_is_asked_for(written, judge, expected, tmp_path):
    rows = ROWS[:3]
    write_shard(tmp_path / "in" / "a.parquet", rows)
    write_shard(tmp_path / "in" / "deep" / "b.jsonl", rows)
    done = run_here("yoj-score", judge, f"{tmp_path}/in/**", "--out", tmp_path / "out", "--format", written)
    assert done.returncode == (0 if written != "parquet" else 1), done.stderr
    loop = expected(rows)
    check(read_shard(tmp_path / "out" / f"a.{written}"), loop)
    if written != "parquet":
        check(read_shard(tmp_path / "out" / "deep" / f"b.{written}"), loop)
    else:  # the types of its values would be others
        assert "deep/b.jsonl is left out, and the run goes on: it is JSON lines, and a.parquet is not" in done.stderr


def test_a_table_as_hugging_face_writes_it(judge, expected, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "photo.png").write_bytes(BYTES)
    rows = [
        {
            "question": f"How many? {number}",
            "responses": ["Nine.", "Three."],
            "images": [{"bytes": BYTES, "path": "lost.png"}, {"bytes": None, "path": "photo.png"}][: number % 3],
            "uid": number,
            "source": {"name": "x", "split": None},
        }
        for number in range(6)
    ]
    write_shard(tmp_path / "in" / "train-00000-of-00001.parquet", rows, row_group_size=2)
    done = run_here("yoj-score", judge, tmp_path / "in", "--out", tmp_path / "out", "--rename", "question=prompt",
                    "--keep", "uid", "--keep", "source")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = read_shard(tmp_path / "out" / "train-00000-of-00001.parquet")
    check(found, expected([row | {"prompt": row["question"], "bytes": [BYTES] * (row["uid"] % 3)} for row in rows]))
    assert [(row["uid"], row["source"]) for row in found] == [(row["uid"], row["source"]) for row in rows]
    assert "passed over, as no shards by their names or as links to folders: 1" in done.stderr
    assert "were not read" not in done.stderr


def test_columns_that_are_not_read_are_named_once(judge, tmp_path):
    for name in ("a", "b"):
        write_shard(tmp_path / "in" / f"{name}.parquet", [row | {"source": 1, "quality": 2} for row in ROWS[:2]])
    done = run_here("yoj-score", judge, tmp_path / "in", "--out", tmp_path / "out", "--keep", "quality")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("columns that are no part of a request, and were not read: source\n") == 1
    assert manifest(tmp_path / "out")["shards"]["a.parquet"]["not_read"] == ["source"]


def test_kept_fields_of_json_lines_are_no_unknown_fields(judge, tmp_path):
    rows = [row | {"source": {"n": number}, "other": number} for number, row in enumerate(ROWS[:3])]
    file = write_shard(tmp_path / "a.jsonl.gz", rows)
    one = run_here("yoj-score", judge, file, "--out", f"{tmp_path}/one/", "--keep", "source", "--ignore-field", "other")
    assert one.returncode == 0, one.stderr
    assert [row["source"] for row in read_shard(tmp_path / "one" / "a.jsonl.gz")] == [row["source"] for row in rows]
    every = run_here("yoj-score", judge, file, "--out", tmp_path / "all.jsonl", "--keep", "all")
    assert every.returncode == 0, every.stderr
    found = read_shard(tmp_path / "all.jsonl")
    assert [{name: row[name] for name in rows[0]} for row in found] == rows
    strict = run_here("yoj-score", judge, file, "--out", tmp_path / "strict", "--keep", "source")
    assert strict.returncode == 1
    assert "The field 'other' is not read" in strict.stderr


def test_the_best_responses_of_each_row(judge, expected, tmp_path):
    file = write_shard(tmp_path / "a.parquet", [row | {"n": number} for number, row in enumerate(ROWS)])
    done = run_here("yoj-score", judge, file, "--out", tmp_path / "best.parquet", "--best", "--keep", "n")
    assert done.returncode == 0, done.stderr
    loop = [[*scores] for scores in expected(ROWS)]
    best = [scores.index(max(scores)) for scores in loop]
    found = read_shard(tmp_path / "best.parquet")
    assert [row["index"] for row in found] == best
    assert [row["response"] for row in found] == [row["responses"][k] for row, k in zip(ROWS, best, strict=True)]
    assert [row["n"] for row in found] == list(range(12))
    run_here("yoj-score", judge, file, "--out", tmp_path / "top.jsonl", "--top", 2)
    orders = [sorted(range(len(scores)), key=lambda k: -scores[k])[:2] for scores in loop]
    assert [row["top_indices"] for row in read_shard(tmp_path / "top.jsonl")] == orders


def test_rows_that_are_not_clearly_decided_are_left_out_and_counted(judge, expected, tmp_path):
    rows = [*ROWS, {"prompt": "broken", "responses": []}, {"prompt": "alone", "responses": ["one"]}]
    file = write_shard(tmp_path / "a.jsonl", rows)
    margins = [sorted(scores)[-1] - sorted(scores)[-2] for scores in expected(ROWS)]
    least = sorted(margins)[6] - 1e-4
    out = tmp_path / "out"
    done = run_here("yoj-score", judge, file, "--out", f"{out}/", "--min-margin", least, "--best")
    assert done.returncode == 1
    assert "13 of 14 rows scored, 1 failed, 7 left out" in done.stderr
    found = read_shard(out / "a.jsonl")
    assert [row["line"] for row in found] == [k for k, margin in enumerate(margins, 1) if margin >= least]
    state = manifest(out)["shards"]["a.jsonl"]
    assert (state["rows"], state["scored"], state["failed"], state["left_out"]) == (14, 13, 1, 7)


@pytest.mark.parametrize("words", [["--best"], []])
def test_a_shard_of_which_no_row_is_clearly_decided_keeps_its_columns_and_no_row(words, judge, tmp_path):
    for name, rows in (("a", ROWS), ("b", [{"prompt": "broken", "responses": []}])):
        write_shard(tmp_path / "in" / f"{name}.parquet", [row | {"n": 1} for row in rows])
    command = [
        "yoj-score",
        judge,
        tmp_path / "in",
        "--out",
        tmp_path / "out",
        "--min-margin",
        1e6,
        "--keep",
        "n",
        *words,
    ]
    done = run_here(*command)
    assert done.returncode == 1
    assert "12 of 13 rows scored, 1 failed, 12 left out" in done.stderr
    for name in "ab":
        assert read_shard(tmp_path / "out" / f"{name}.parquet") == []
    assert "n" in pq.read_schema(tmp_path / "out" / "a.parquet").names


def test_parts_of_a_run_are_the_whole_run(judge, expected, tmp_path):
    for number in range(5):
        write_shard(tmp_path / "in" / f"{number}.jsonl", ROWS[number * 2 : number * 2 + 2])
    out = tmp_path / "out"
    for part in ("2/3", "1/3", "3/3"):
        done = run_here("yoj-score", judge, tmp_path / "in", "--out", out, "--shard", part)
        assert done.returncode == 0, done.stderr
    loop = expected(ROWS[:10])
    for number in range(5):
        check(read_shard(out / f"{number}.jsonl"), loop[number * 2 : number * 2 + 2])
    parts = [json.loads((out / f"run-{part}-of-3.json").read_text()) for part in (1, 2, 3)]
    assert [[*one["shards"]] for one in parts] == [["0.jsonl", "3.jsonl"], ["1.jsonl", "4.jsonl"], ["2.jsonl"]]
    # In one go, or in other parts, nothing is left to do.
    done = run_here("yoj-score", judge, tmp_path / "in", "--out", out, "--shard", "1/2")
    assert "6 of 6 rows scored, 0 failed; results of 3 of 3 shards" in done.stderr
    assert "rows now" not in done.stderr


def test_the_manifest_says_what_was_scored_with_what(judge, scorer, tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [*ROWS[:2], {"prompt": "p", "responses": []}])
    run_here("yoj-score", judge, tmp_path / "in", "--out", tmp_path / "out", "--mode", "isolated")
    found = manifest(tmp_path / "out")
    engine = scorer("merged", "assistant").engine
    assert (found["bundle_sha256"], found["engine"], found["precision"]) == (
        scorer("merged", "assistant").manifest.digest, engine.engine, engine.precision
    )  # fmt: skip
    state = found["shards"]["a.parquet"]
    assert (state["state"], state["rows"], state["scored"], state["failed"]) == ("done", 3, 2, 1)
    assert state["source"]["size"] == (tmp_path / "in" / "a.parquet").stat().st_size
    assert state["output_size"] == (tmp_path / "out" / "a.parquet").stat().st_size
    assert state["first_error"].startswith("row 3: ")
    assert found["run"] == read_shard(tmp_path / "out" / "a.parquet")[0]["run"]
    assert found["usage"]["rows"] == 3
    assert {"yoj", "python", "numpy"} <= found["versions"].keys()


def test_one_file_of_json_lines_keeps_its_way(judge, tmp_path):
    """Lines are appended as they come, to the one file of results."""
    file = write_shard(tmp_path / "a.jsonl", ROWS[:2])
    done = run_here("yoj-score", judge, file, "--out", tmp_path / "b.jsonl")
    assert done.returncode == 0, done.stderr
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]
