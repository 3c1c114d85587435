"""Files of JSON lines in every compression, a row at a time."""

from __future__ import annotations

import hashlib
import json

import pytest
from shard_files import requests, write_shard

from yoj.runtime.bulk._reading import WHOLE, Names
from yoj.runtime.bulk._shards import ShardError
from yoj.runtime.bulk._text_reader import TextReader
from yoj.runtime.codec import Ignore


def reader(file, **rename: str) -> TextReader:
    return TextReader(file, Names(rename, Ignore()))


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_rows_are_the_lines(suffix, tmp_path):
    given = requests(5)
    found = reader(write_shard(tmp_path / f"a{suffix}", given))
    rows = list(found.rows())
    assert [json.loads(row.text or b"") for row in rows] == given
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert [row.digest for row in rows] == [hashlib.sha256(row.text or b"").hexdigest()[:16] for row in rows]
    assert found.count() == 5


def test_blank_lines_are_no_rows_and_broken_ones_are(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "p"}\n\n{broken\n')
    found = reader(tmp_path / "a.jsonl")
    assert [row.number for row in found.rows()] == [1, 3]
    (block,) = found.values(["prompt", WHOLE])
    assert (list(block.numbers), block.columns) == ([1, 3], {"prompt": ["p", None], WHOLE: [{"prompt": "p"}, {}]})


def test_fields_are_read_under_other_names(tmp_path):
    file = write_shard(tmp_path / "a.jsonl", [{"question": "p", "responses": ["a"]}, {"prompt": "q"}])
    found = reader(file, question="prompt")
    assert [row.fields for row in found.rows()] == [{"prompt": "p", "responses": ["a"]}, {"prompt": "q"}]
    (tmp_path / "b.jsonl").write_text('{"question": "p"}\n{"question": "p", "prompt": "q"}\n')
    with pytest.raises(ShardError, match=r"line 2: several columns are called 'prompt'"):
        list(reader(tmp_path / "b.jsonl", question="prompt").rows())


@pytest.mark.parametrize(
    ("suffix", "said"), [(".jsonl.gz", "damaged gzip file"), (".jsonl.zst", "damaged zstd file: its end is missing")]
)
@pytest.mark.parametrize("cut", [1, 9, 40])
def test_a_cut_file_is_noticed(suffix, said, cut, tmp_path):
    file = write_shard(tmp_path / f"a{suffix}", requests(200))
    file.write_bytes(file.read_bytes()[:-cut])
    for read in (reader(file).count, lambda: list(reader(file).rows())):
        with pytest.raises(ShardError, match=said):
            read()


def test_another_form_of_file_is_told(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(requests(3), indent=1))
    with pytest.raises(ShardError, match="one JSON array"):
        reader(tmp_path / "a.jsonl").count()


def test_a_file_that_is_gone_is_told(tmp_path):
    with pytest.raises(ShardError, match="it cannot be read: No such file"):
        reader(tmp_path / "none.jsonl").count()
