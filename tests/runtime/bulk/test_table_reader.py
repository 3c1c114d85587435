"""Parquet files as data sets have them: which columns are read, what becomes of media, what is refused."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path

import pytest
from shard_files import PICTURE, requests, write_shard

from yoj.runtime.bulk._reading import Names
from yoj.runtime.bulk._rows import ShardRow
from yoj.runtime.bulk._shards import ShardError
from yoj.runtime.bulk._table_reader import TableReader
from yoj.runtime.codec import Ignore, Reading
from yoj.runtime.lines import read_fields
from yoj.runtime.request import Image, Request
from yoj.runtime.sources import Policy

pyarrow = pytest.importorskip("pyarrow")
BYTES = PICTURE.read_bytes()


def reader(file: Path, ignore: tuple[str, ...] = (), **rename: str) -> TableReader:
    return TableReader(file, Names(rename, Ignore(frozenset(ignore))))


def rows_of(file: Path, **rename: str) -> list[ShardRow]:
    return list(reader(file, **rename).rows())


def request_of(row: ShardRow, folder: Path) -> Request:
    entry = read_fields(row.number, row.digest, dict(row.fields or {}), Reading(Policy(folder)))
    assert isinstance(entry.request, Request), entry.request
    return entry.request


def refused(file: Path, *ignore: str, **rename: str) -> str:
    with pytest.raises(ShardError) as caught:
        list(reader(file, ignore, **rename).rows())
    return str(caught.value)


@pytest.mark.parametrize("group", [1, 3, 1000])
def test_rows_come_in_order_whatever_the_row_groups(group, tmp_path):
    given = requests(20)
    rows = rows_of(write_shard(tmp_path / "a.parquet", given, row_group_size=group))
    assert [row.number for row in rows] == list(range(1, 21))
    assert [row.fields for row in rows] == given
    assert len({row.digest for row in rows}) == 20
    assert reader(tmp_path / "a.parquet").count() == 20


def test_media_are_structs_lists_bytes_or_paths(tmp_path):
    base = {"prompt": "p", "responses": ["a", "b"]}
    struct = {"bytes": BYTES, "path": "x.png"}
    (tmp_path / "photo.png").write_bytes(BYTES)
    forms = {
        "struct": ({"image": struct}, [BYTES]),
        "list": ({"images": [struct, {"bytes": None, "path": "photo.png"}]}, [BYTES, tmp_path / "photo.png"]),
        "bytes": ({"image": BYTES}, [BYTES]),
        "paths": ({"image": ["photo.png"]}, [tmp_path / "photo.png"]),
        "none": ({"image": None}, []),
    }
    for name, (more, expected) in forms.items():
        (row,) = rows_of(write_shard(tmp_path / f"{name}.parquet", [base | more]))
        assert list(request_of(row, tmp_path).images) == expected, name


def test_conversations_whose_parts_have_null_fields_are_read(tmp_path):
    turns = [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]}]
    row = {"messages": turns, "images": [{"bytes": BYTES, "path": None}], "responses": ["a", "b"]}
    (found,) = rows_of(write_shard(tmp_path / "a.parquet", [row]))
    request = request_of(found, tmp_path)
    assert request.prompt[0].content == [Image(), "What?"]  # pyright: ignore
    assert request.images == [BYTES]


def test_columns_are_read_under_other_names(tmp_path):
    given = [{"question": "p", "answers": ["a", "b"], "source": 1}]
    file = write_shard(tmp_path / "a.parquet", given)
    found = reader(file, question="prompt", answers="responses")
    assert [row.fields for row in found.rows()] == [{"prompt": "p", "responses": ["a", "b"]}]
    assert found.not_read == ["source"]
    (block,) = found.values(["source", "prompt"])
    assert {name: column.to_pylist() for name, column in block.columns.items()} == {"source": [1], "prompt": ["p"]}


def test_a_column_that_is_ignored_is_not_read(tmp_path):
    file = write_shard(tmp_path / "a.parquet", [{"prompt": "p", "responses": ["a"], "image": "x.png"}])
    found = reader(file, ("image",))
    assert [row.fields for row in found.rows()] == [{"prompt": "p", "responses": ["a"]}]
    assert found.not_read == ["image"]


def test_a_digest_depends_on_what_is_read_and_on_nothing_else(tmp_path):
    row = {"prompt": "p", "responses": ["a", "b"], "source": 1}
    other_order = {"source": 2, "responses": ["a", "b"], "prompt": "p"}
    digests = [
        rows_of(write_shard(tmp_path / f"{number}.parquet", [one]))[0].digest
        for number, one in enumerate([row, other_order, row | {"prompt": "q"}, row | {"responses": ["ab"]}])
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_metadata_of_every_type_has_a_digest(tmp_path):
    values = [datetime.datetime(2026, 1, 2, 3), decimal.Decimal("1.50"), b"\xff", {"a": [1.5, None]}, True]
    for number, value in enumerate(values):
        file = write_shard(tmp_path / f"{number}.parquet", [{"prompt": "p", "responses": ["a"], "metadata": value}])
        (row,) = rows_of(file)
        assert row.fields is not None
        assert row.fields["metadata"] == value


def test_memory_is_bounded_by_blocks_of_rows(tmp_path):
    rows = [{"prompt": "p", "responses": ["a"], "image": bytes([number]) * 2**20} for number in range(64)]
    file = write_shard(tmp_path / "a.parquet", rows, row_group_size=64, compression="none", use_dictionary=False)
    blocks = list(reader(file).values(["image"]))
    assert [len(block.numbers) for block in blocks] == [16, 16, 16, 16]
    assert [number for block in blocks for number in block.numbers] == list(range(1, 65))


def test_a_missing_column_is_named_with_what_is_there(tmp_path):
    file = write_shard(tmp_path / "a.parquet", [{"question": "p", "n": 3}])
    assert refused(file) == "there is no column 'prompt'; there are 'question', 'n'. Give --rename question=prompt"
    assert refused(file, question="prompt").endswith("Give --rename COLUMN=responses")
    with pytest.raises(ShardError, match="there is no column 'x'; there are 'prompt', 'responses'"):
        list(reader(write_shard(tmp_path / "b.parquet", [{"prompt": "p", "responses": ["a"]}])).values(["x"]))


def test_two_columns_of_one_meaning_are_refused(tmp_path):
    row = {"prompt": "p", "responses": ["a"], "image": "a.png", "images": ["b.png"], "question": "q"}
    file = write_shard(tmp_path / "a.parquet", [row])
    assert refused(file) == "the columns 'image' and 'images' say the same. Leave one out: --ignore-field images"
    assert refused(file, question="prompt").startswith("several columns are called 'prompt', renamed ones included")
    assert list(reader(file, ("images",)).rows())


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_cut_file_is_refused(keep, tmp_path):
    whole = write_shard(tmp_path / "whole.parquet", requests(50)).read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: int(len(whole) * keep)])
    assert refused(tmp_path / "a.parquet").startswith("it cannot be read as Parquet: ")


def test_damage_in_a_page_is_refused_where_the_file_has_sums(tmp_path):
    file = write_shard(tmp_path / "a.parquet", requests(40), row_group_size=10, write_page_checksum=True)
    column = pyarrow.parquet.ParquetFile(file).metadata.row_group(2).column(1)
    content = bytearray(file.read_bytes())
    content[column.dictionary_page_offset + 60] ^= 255
    file.write_bytes(content)
    assert refused(file).startswith("it cannot be read as Parquet: ")
