"""Inputs: which files are shards, what they are called, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from shard_files import SUFFIXES, requests, write_shard

from yoj.runtime import RequestError
from yoj.runtime.bulk._shards import find_shards, output_name


def names(*inputs: object) -> list[str]:
    return [shard.name for shard in find_shards([str(one) for one in inputs]).shards]


@pytest.fixture
def folder(tmp_path) -> Path:
    for suffix in SUFFIXES:
        write_shard(tmp_path / "in" / "deep" / f"part{suffix}".replace("part", suffix.replace(".", "")), requests(1))
    write_shard(tmp_path / "in" / "b.parquet", requests(1))
    write_shard(tmp_path / "in" / "a.parquet", requests(1))
    for name in ("README.md", "dataset_info.json", "_SUCCESS", ".hidden.parquet", ".cache/c.parquet"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text("{}")
    return tmp_path / "in"


def test_a_folder_gives_its_shards_in_order_and_tells_the_rest(folder):
    deep = ["deep/jsonl.jsonl", "deep/jsonlgz.jsonl.gz", "deep/jsonlzst.jsonl.zst", "deep/parquet.parquet"]
    assert names(folder) == ["a.parquet", "b.parquet", *deep]
    found = find_shards([str(folder)])
    assert [Path(name).name for name in found.passed_over] == ["README.md", "dataset_info.json"]
    assert not found.one_file


def test_patterns_are_read_without_a_shell(folder):
    assert names(f"{folder}/*.parquet") == ["a.parquet", "b.parquet"]
    assert names(f"{folder}/**/*.parquet") == ["a.parquet", "b.parquet", "deep/parquet.parquet"]
    assert names(f"{folder}/[ab].parquet") == ["a.parquet", "b.parquet"]
    assert names(f"{folder}/d*") == [f"deep/{name}" for name in sorted(one.name for one in (folder / "deep").iterdir())]
    assert names(f"{folder}/*/*.zst") == ["deep/jsonlzst.jsonl.zst"]


def test_a_file_whose_name_is_like_a_pattern_is_itself(tmp_path):
    file = write_shard(tmp_path / "a[1].parquet", requests(1))
    found = find_shards([str(file)])
    assert [shard.name for shard in found.shards] == ["a[1].parquet"]
    assert found.one_file


def test_the_order_is_that_of_the_names_whatever_the_order_of_the_inputs(folder):
    files = [folder / "b.parquet", folder / "deep" / "jsonl.jsonl", folder / "a.parquet"]
    assert names(*files) == names(*reversed(files)) == ["a.parquet", "b.parquet", "jsonl.jsonl"]


def test_the_format_is_that_of_the_content(folder, tmp_path):
    (folder / "b.parquet").rename(tmp_path / "b.jsonl")
    (shard,) = find_shards([str(tmp_path / "b.jsonl")]).shards
    assert shard.format == "parquet"
    assert output_name(shard, None) == "b.parquet"


@pytest.mark.parametrize(
    ("name", "written", "expected"),
    [
        ("a.parquet", "jsonl.gz", "a.jsonl.gz"),
        ("a.json.gz", "jsonl.gz", "a.json.gz"),
        ("a.jsonl.zst", "parquet", "a.parquet"),
        ("a.txt", "jsonl", "a.txt.jsonl"),
        ("a", "parquet", "a.parquet"),
    ],
)
def test_results_are_called_as_their_shards(name, written, expected, tmp_path):
    (tmp_path / name).write_text("{}")
    (shard,) = find_shards([str(tmp_path / name)]).shards
    assert output_name(shard, written) == expected


@pytest.mark.parametrize("given", ["none.parquet", "none*.parquet", "in/README", "-"])
def test_what_is_not_there_is_refused(given, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    with pytest.raises(RequestError, match=r"none is like it|Standard input"):
        find_shards([given, "in"])


def test_what_can_be_read_only_once_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(RequestError, match=r"a\.jsonl is no plain file"):
        find_shards([str(tmp_path)])


def test_a_folder_without_shards_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("")
    with pytest.raises(RequestError, match=r"holds no file that ends in \.jsonl, "):
        find_shards([str(tmp_path)])


def test_a_shard_that_is_given_twice_is_refused(folder):
    with pytest.raises(RequestError, match="is given twice"):
        find_shards([str(folder), str(folder / "a.parquet")])


def test_two_shards_of_one_name_are_refused(folder):
    write_shard(folder / "deep" / "a.parquet", requests(1))
    with pytest.raises(RequestError, match=r"are both called a\.parquet here"):
        find_shards([str(folder / "a.parquet"), str(folder / "deep" / "a.parquet")])
    assert "deep/a.parquet" in names(folder)
