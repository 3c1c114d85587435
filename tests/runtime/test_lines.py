"""Files of requests: what is read, what is told how to convert, and what a line may do to the others."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoj.runtime import Request, RequestError
from yoj.runtime.codec import Ignore, Reading
from yoj.runtime.lines import Numbered, read_entries, read_entry, read_lines, read_requests

LINE = {"prompt": "What?", "responses": ["a", "b"]}
TEXT = json.dumps(LINE).encode()


def lines_of(text: bytes) -> list[tuple[int, bytes]]:
    return [(line.number, line.text) for line in read_lines(io.BytesIO(text), "file")]


def refused(text: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        lines_of(text)
    return str(caught.value)


@pytest.mark.slow
@given(
    st.lists(st.sampled_from([TEXT, b"", b"  ", b"{broken", b"[]", b"\xff"]), max_size=6),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_lines_are_numbered_as_an_editor_does_and_blank_ones_passed_over(texts, end):
    text = end.join([TEXT, *texts])
    expected = [(k, line) for k, line in enumerate(text.splitlines(), 1) if line.strip()]
    assert lines_of(text) == expected
    assert lines_of(gzip.compress(text)) == expected
    assert lines_of(b"\xef\xbb\xbf" + text) == expected


def test_an_empty_file_has_no_lines():
    assert lines_of(b"") == lines_of(gzip.compress(b"")) == lines_of(b"\n\n") == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_another_encoding_is_told_how_to_convert(encoding):
    text = "".join(json.dumps(LINE) + "\n" for _ in range(3)).encode(encoding)
    message = refused(text)
    said = message.partition("-f ")[2].partition(" ")[0]
    assert message.startswith(f"file is {said}. Convert it: iconv -f {said} -t UTF-8")
    assert said.replace("LE", "-LE").replace("BE", "-BE").lower() == encoding
    assert refused(gzip.compress(text)) == message


@pytest.mark.slow
@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_array_is_told_how_to_convert(indent):
    assert "holds one JSON array. Convert it to JSON lines: jq -c '.[]' file" in refused(
        json.dumps([LINE] * 3, indent=indent).encode()
    )
    large = json.dumps([LINE | {"prompt": "x" * 1000}] * 3000, indent=1).encode()
    assert "holds one JSON array" in refused(large)


def test_objects_of_several_lines_are_told_how_to_convert():
    pretty = json.dumps(LINE, indent=2).encode()
    assert "JSON objects of several lines. Convert it to one object a line: jq -c . file" in refused(pretty)
    assert "several lines" in refused(pretty + b"\n" + pretty)
    assert "several lines" in refused(TEXT.replace(b", ", b",\n"))
    assert "several lines" in refused(json.dumps(LINE | {"prompt": "x" * 3_000_000}, indent=2).encode())


@pytest.mark.parametrize("first", [b"{broken", b"{", b"[1, 2]", b"[broken", b'{"prompt": "p",', b"}", b"3"])
def test_a_first_line_that_is_broken_is_not_taken_for_another_form(first):
    assert lines_of(first + b"\n" + TEXT + b"\n" + TEXT) == [(1, first), (2, TEXT), (3, TEXT)]


@pytest.mark.parametrize(("begin", "said"), [(b"PK\3\4", "zip"), (b"PAR1", "Parquet"), (b"BZh9", "bzip2"),
                                             (b"\xfd7zXZ\0", "xz"), (b"(\xb5/\xfd", "zstd")])  # fmt: skip
def test_other_packings_are_named(begin, said):
    assert said in refused(begin + bytes(100))


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: text[:40] + b"\0\0\0\0" + text[44:]])
def test_a_damaged_gzip_file_is_an_error(damage):
    text = gzip.compress(b"".join(json.dumps(LINE | {"id": k}).encode() + b"\n" for k in range(50)))
    assert "file is a damaged gzip file" in refused(damage(text))


def test_a_line_that_is_too_long_is_an_error_of_its_own(monkeypatch):
    for module in ("lines", "strict_json"):
        monkeypatch.setattr(f"yoj.runtime.{module}.MAX_BYTES", 1000)
    long = json.dumps(LINE | {"prompt": "x" * 5000}).encode()
    lines = read_lines(io.BytesIO(TEXT + b"\n" + long + b"\n" + TEXT), "file")
    assert [line.number for line in lines] == [1, 2, 3]
    assert lines[2].text == TEXT
    assert max(len(line.text) for line in lines) == 1001
    entry = read_entry(lines[1], Reading())
    assert "more than 1,000 bytes" in str(entry.request)
    assert isinstance(read_entry(lines[2], Reading()).request, Request)


def test_a_wrong_line_still_says_its_id_where_that_can_be_read():
    def entry(fields: object):
        return read_entry(Numbered(1, json.dumps(fields).encode()), Reading())

    assert entry(LINE | {"id": "a", "img": 1}).id == "a"
    assert entry(LINE | {"id": 3, "image": "none.png", "metadata": [1]}).metadata == [1]
    for wrong in ({"a": 1}, 1.5, True, "\ud800", 2**70):
        found = entry(LINE | {"id": wrong})
        assert isinstance(found.request, RequestError)
        assert found.id is None


@given(st.binary())
def test_no_line_raises_anything(text):
    assert isinstance(read_entry(Numbered(1, text), Reading()).request, RequestError)


def test_ignored_fields_are_told():
    entry = read_entry(
        Numbered(1, json.dumps(LINE | {"zz": 1, "id": 2}).encode()), Reading(ignore=Ignore(unknown=True))
    )
    assert entry.ignored == ("zz",)
    assert entry.id == 2


def test_the_requests_of_a_file_and_the_first_line_that_is_none(tmp_path):
    file = tmp_path / "r.jsonl"
    file.write_text(
        "\n".join(json.dumps(line) for line in (LINE, LINE | {"image": "a.png"}, LINE | {"img": 1})), "utf-8"
    )
    assert read_requests(file, 2) == {
        1: Request("What?", ["a", "b"], []),
        2: Request("What?", ["a", "b"], [tmp_path / "a.png"]),
    }
    with pytest.raises(RequestError, match=r"r\.jsonl, line 3: The field 'img'"):
        read_requests(file)
    assert len(read_entries(file, Reading(ignore=Ignore(frozenset({"img"})), policy=Reading().policy), 1)) == 1
    with pytest.raises(RequestError, match="files are not read here"):
        read_requests(file, reading=Reading())


def test_a_file_that_is_not_there_is_an_operating_systems_error():
    with pytest.raises(FileNotFoundError):
        read_requests(Path("none.jsonl"))
