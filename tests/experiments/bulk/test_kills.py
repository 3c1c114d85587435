"""A small trial: shards of rows, scored under kills, every row once and as a plain loop scores it."""

from __future__ import annotations

import json

import pytest

from experiments.bulk.kills import Trial, run
from experiments.bulk.plain import compare
from experiments.bulk.shards import make_rows, read_rows, write_shards

pytest.importorskip("pyarrow")


def test_rows_come_again_and_differ():
    rows = [*make_rows(10)]
    assert rows == [*make_rows(10)]
    assert len({row["id"] for row in rows}) == 10
    assert rows[0]["image"] == rows[3]["image"] != rows[4]["image"]
    assert sorted(rows[0]["responses"]) == sorted(rows[1]["responses"])
    assert rows[0]["responses"] != rows[1]["responses"]


def test_every_row_is_there_once_after_kills(bundle, tmp_path):
    pytest.importorskip("yoj.bench")
    judge, shards = bundle("merged", "assistant"), tmp_path / "in"
    write_shards(shards, 90, 3)
    assert [row["id"] for row in read_rows(shards, ["id"])] == [f"r{number}" for number in range(90)]
    told = run(Trial(judge, shards, tmp_path / "out", kills=2, most_s=1.5, seed=1), lambda _: None)
    assert 1 <= sum(told["kills"].values()) <= 2
    assert json.loads((tmp_path / "out" / "run.json").read_text())["shards"].keys() == {
        f"part-{number:05}.parquet" for number in range(3)
    }
    found = compare(judge, shards, tmp_path / "out", lambda _: None)
    assert found["rows"] == 90
    assert found["difference"] < 1e-4


def test_a_result_too_few_is_found(bundle, tmp_path):
    write_shards(tmp_path / "in", 8, 2)
    write_shards(tmp_path / "more", 9, 2)
    judge = bundle("merged", "assistant")
    run(Trial(judge, tmp_path / "in", tmp_path / "out", kills=0, most_s=1.0), lambda _: None)
    with pytest.raises(ValueError, match="row 9 is r8, and its result is None"):
        compare(judge, tmp_path / "more", tmp_path / "out", lambda _: None)
