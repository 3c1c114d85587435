"""Places of results: folders and files, and what may not be written over."""

from __future__ import annotations

import os

import pytest
from shard_files import requests, write_shard

from yoj.runtime import RequestError
from yoj.runtime._file_options import FileOptions
from yoj.runtime.bulk._place import Place, make_place
from yoj.runtime.bulk._shards import find_shards


def place_of(out, *inputs, **options) -> Place:
    given = [str(one) for one in inputs]
    return make_place(None if out is None else str(out), given, find_shards(given), FileOptions(**options))


@pytest.fixture
def file(tmp_path):
    return write_shard(tmp_path / "in" / "a.parquet", requests(1))


def test_one_file_goes_to_a_file_whose_name_says_the_format(file, tmp_path):
    place = place_of(tmp_path / "out" / "scores.jsonl.zst", file)
    (shard,) = find_shards([str(file)]).shards
    assert (place.folder, place.output(shard), place.format(shard)) == (
        tmp_path / "out",
        "scores.jsonl.zst",
        "jsonl.zst",
    )
    assert place.journal(shard) == tmp_path / "out" / ".scores.jsonl.zst.journal"
    assert place.manifest == tmp_path / "out" / "scores.jsonl.zst.run.json"
    other = place_of(tmp_path / "scores", file)
    assert (other.output(shard), other.format(shard)) == ("scores", "parquet")


@pytest.mark.parametrize("out", ["new/", "there"])
def test_one_file_goes_into_a_folder_that_is_there_or_has_a_slash(out, file, tmp_path):
    (tmp_path / "there").mkdir()
    place = place_of(f"{tmp_path}/{out}", file, format="jsonl")
    (shard,) = find_shards([str(file)]).shards
    assert place.folder / place.output(shard) == tmp_path / out.rstrip("/") / "a.jsonl"
    assert place.manifest.name == "run.json"


def test_parts_of_a_run_have_manifests_of_their_own(file, tmp_path):
    place = place_of(tmp_path / "out", file.parent, part=(2, 8))
    assert place.manifest.name == "run-2-of-8.json"
    for name in ("run.json", "run-1-of-8.json", "other.json"):
        (tmp_path / "out" / name).write_text("{}")
    assert [one.name for one in place.manifests()] == ["run-1-of-8.json", "run.json"]


def test_results_need_a_place(file):
    with pytest.raises(RequestError, match="Give --out"):
        place_of(None, file)


def test_several_shards_do_not_go_into_one_file(file, tmp_path):
    write_shard(tmp_path / "in" / "b.parquet", requests(1))
    (tmp_path / "out").write_text("")
    with pytest.raises(RequestError, match="Results of several shards need a folder"):
        place_of(tmp_path / "out", file.parent)


def test_a_name_and_a_format_that_differ_are_refused(file, tmp_path):
    with pytest.raises(RequestError, match=r"is named as parquet, and --format says jsonl|has the name of parquet"):
        place_of(tmp_path / "a.parquet", file, format="jsonl")


@pytest.mark.parametrize("out", [".", "in", "in/scores", "in/deep/../scores"])
def test_results_among_the_requests_are_refused(out, file, tmp_path):
    with pytest.raises(RequestError, match=r"would be taken for shards the next time|is the requests themselves"):
        place_of(tmp_path / out, *([file.parent] if out != "." else [tmp_path]))


def test_results_on_a_request_are_refused(file):
    for out in (file, f"{file.parent}/"):
        with pytest.raises(RequestError, match="is the requests themselves"):
            place_of(out, file)


def test_shards_whose_results_would_be_one_file_are_refused(file, tmp_path):
    write_shard(tmp_path / "in" / "a.jsonl", requests(1))
    place_of(tmp_path / "out", file.parent)
    with pytest.raises(RequestError, match=r"would both be .*a\.parquet"):
        place_of(tmp_path / "out", file.parent, format="parquet")


def test_one_process_at_a_time_is_at_a_part(file, tmp_path):
    first, second = (place_of(tmp_path / "out", file.parent, part=part) for part in (None, (1, 2)))
    with first.locked():
        with pytest.raises(RequestError, match="Another process writes to"), first.locked():
            pass
        with second.locked():
            pass
    assert os.listdir(tmp_path / "out") == []
