"""Shards of results: every format holds the same, whole or not at all, with columns as the input had them."""

from __future__ import annotations

import dataclasses
import os

import pytest
from shard_files import SUFFIXES, read_shard

from yoj.runtime import Judgement
from yoj.runtime._file_options import SUFFIXES as FORMATS
from yoj.runtime._jsonl import OF_THE_RUN
from yoj.runtime.bulk._columns import JUDGEMENT, ResultColumns, TableColumns
from yoj.runtime.bulk._reading import WHOLE
from yoj.runtime.bulk._selection import RowSelection
from yoj.runtime.bulk._writing import ResultBlock, atomically, make_writer

pyarrow = pytest.importorskip("pyarrow")
GOOD = {"line": 1, "request": "a", "run": "r", "id": "x", "scores": [0.5, 1.5], "best": 1, "margin": 1.0}
BAD = {"line": 2, "request": "b", "run": "r", "error": {"type": "MediaError", "message": "no picture"}}
PLAIN = TableColumns(ResultColumns(), [], None)


def write(file, *blocks: ResultBlock, table: TableColumns = PLAIN):
    with atomically(file) as stream:
        writer = make_writer(stream, FORMATS["." + file.name.partition(".")[2]], table, str(file))
        for block in blocks:
            writer.write(block)
        writer.close()
    return file


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_holds_the_same_in_order(suffix, tmp_path):
    blocks = [ResultBlock([GOOD | {"line": 2 * k}, BAD | {"line": 2 * k + 1}], {}) for k in range(4)]
    rows = read_shard(write(tmp_path / f"a{suffix}", *blocks))
    assert [row["line"] for row in rows] == list(range(8))
    assert [row.get("scores") for row in rows] == [[0.5, 1.5], None] * 4
    message = "no picture" if suffix == ".parquet" else BAD["error"]
    assert [row.get("error") for row in rows] == [None, message] * 4


def test_columns_of_tables_are_the_fields_of_a_judgement():
    """``spread`` is the old name of ``sigma``, for readers of files of lines."""
    fields = {field.name for field in dataclasses.fields(Judgement)} - {*OF_THE_RUN, "id", "metadata"}
    assert {*JUDGEMENT} == fields


def test_the_schema_is_the_same_where_all_rows_failed_and_where_there_are_none(tmp_path):
    files = [
        write(tmp_path / f"{name}.parquet", *blocks)
        for name, blocks in {"good": [ResultBlock([GOOD], {})], "bad": [ResultBlock([BAD], {})], "none": []}.items()
    ]
    schemas = [pyarrow.parquet.read_schema(file) for file in files]
    assert schemas[0].equals(schemas[1])
    assert schemas[0].equals(schemas[2])
    assert len(pyarrow.parquet.read_table([str(file) for file in files])) == 2


def test_a_shard_without_rows_is_a_file(tmp_path):
    for suffix in SUFFIXES:
        assert read_shard(write(tmp_path / f"a{suffix}")) == []


def test_kept_columns_of_a_table_keep_their_types(tmp_path):
    types = {
        "n": pyarrow.int8(),
        "when": pyarrow.timestamp("ns"),
        "tags": pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
    }
    arrays = {
        "n": pyarrow.array([1, None], types["n"]),
        "when": pyarrow.array([1_700_000_000_000_000_001, None], types["when"]),
        "tags": pyarrow.array(["a", "a"]).cast(types["tags"]),
    }
    file = write(
        tmp_path / "a.parquet", ResultBlock([GOOD, BAD], arrays), table=TableColumns(ResultColumns(), [*types], types)
    )
    table = pyarrow.parquet.read_table(file)
    assert {name: table.schema.field(name).type for name in ("n", "when")} == {"n": types["n"], "when": types["when"]}
    assert table["n"].to_pylist() == [1, None]
    assert table["when"].cast(pyarrow.int64()).to_pylist() == [1_700_000_000_000_000_001, None]
    assert table["tags"].to_pylist() == ["a", "a"]


def test_kept_values_of_json_are_texts_in_a_table(tmp_path):
    table = TableColumns(ResultColumns(), ["more"], None)
    block = ResultBlock([GOOD, BAD, GOOD], {"more": ["text", {"a": [1]}, None]})
    assert pyarrow.parquet.read_table(write(tmp_path / "a.parquet", block, table=table))["more"].to_pylist() == [
        "text", '{"a":[1]}', None
    ]  # fmt: skip


def test_kept_columns_stand_behind_the_results_of_a_line(tmp_path):
    block = ResultBlock([GOOD], {"more": [b"\x01"], WHOLE: [{"id": 5, "other": 7}]})
    (row,) = read_shard(write(tmp_path / "a.jsonl", block))
    assert row == GOOD | {"more": "AQ==", "other": 7}


def test_identifiers_keep_the_type_of_the_table(tmp_path):
    table = TableColumns(ResultColumns(), [], {"id": pyarrow.int32()})
    file = write(tmp_path / "a.parquet", ResultBlock([GOOD | {"id": 7}, BAD], {}), table=table)
    assert pyarrow.parquet.read_schema(file).field("id").type == pyarrow.int32()
    assert [row["id"] for row in read_shard(file)] == [7, None]
    file = write(tmp_path / "b.parquet", ResultBlock([GOOD | {"id": 7}, GOOD], {}))
    assert [row["id"] for row in read_shard(file)] == ["7", "x"]


def test_the_best_response_has_the_type_that_the_table_gives_it(tmp_path):
    part = pyarrow.struct([("type", pyarrow.string()), ("text", pyarrow.string())])
    types = {"responses": pyarrow.list_(pyarrow.list_(part))}
    table = TableColumns(ResultColumns(RowSelection(best=True)), [], types)
    best = {"line": 1, "request": "a", "run": "r", "response": [{"type": "text", "text": "A"}], "index": 0}
    file = write(tmp_path / "a.parquet", ResultBlock([best, BAD], {}), table=table)
    assert pyarrow.parquet.read_schema(file).field("response").type == pyarrow.list_(part)
    assert [row["response"] for row in read_shard(file)] == [[{"type": "text", "text": "A"}], None]


def test_equal_results_are_equal_files(tmp_path):
    for suffix in SUFFIXES:
        files = [write(tmp_path / name / f"a{suffix}", ResultBlock([GOOD, BAD], {})) for name in self_made(tmp_path)]
        assert files[0].read_bytes() == files[1].read_bytes()


def self_made(folder) -> list[str]:
    for name in ("x", "y"):
        (folder / name).mkdir(exist_ok=True)
    return ["x", "y"]


def test_what_a_killed_run_left_is_written_over_and_what_fails_leaves_nothing(tmp_path):
    (tmp_path / ".a.jsonl.tmp").write_bytes(b"left over\n" * 9)
    assert len(read_shard(write(tmp_path / "a.jsonl", ResultBlock([GOOD], {})))) == 1
    before = (tmp_path / "a.jsonl").read_bytes()
    with pytest.raises(TypeError):
        write(tmp_path / "a.jsonl", ResultBlock([GOOD | {"best": object()}], {}))
    assert (tmp_path / "a.jsonl").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_rows_become_row_groups_of_a_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr("yoj.runtime.bulk._writing.GROUP_ROWS", 10)
    blocks = [ResultBlock([GOOD] * 4, {}) for _ in range(7)]
    found = pyarrow.parquet.ParquetFile(write(tmp_path / "a.parquet", *blocks)).metadata
    assert [found.row_group(k).num_rows for k in range(found.num_row_groups)] == [12, 12, 4]
