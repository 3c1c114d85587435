"""Reading of native fields, whatever the benchmark."""

from __future__ import annotations

import pytest
from benchmark_files import png, write_jsonl, write_parquet, write_picture

from yoj.evaluation import EvaluationError, Item, Refusal
from yoj.evaluation.benchmarks._fields import NativeRow, RowError, Schema, find_files, key_of, read_items
from yoj.runtime import Request

SCHEMA = Schema("Toy", ("data/toy-*.parquet", "toy.jsonl"), ("id", "question"), ("image",), "Give toy.jsonl.")


def make(row):
    question = row.prompt("question")
    return Item(question, row.identifier("id"), question, "", Request(question, ["a", "b"]), (1, 2))


def read(given, renamed=None, schema=SCHEMA):
    return list(read_items(given, schema, renamed or {}, make))


def native(**fields):
    return NativeRow(1, fields, ())


def test_items_and_refusals_come_in_the_order_of_the_file(tmp_path):
    rows = [{"id": 1, "question": "Q"}, {"id": "b"}, {"id": 3, "question": " "}, {"id": 4, "question": 4}]
    rows += [{"id": 5, "question": "Q"}, {"id": None, "question": "R"}]
    file = write_jsonl(tmp_path / "toy.jsonl", rows)
    file.write_text(file.read_text() + "{broken\n")
    first, *refused = read(tmp_path)
    assert first.id == "1"
    assert [(one.row, one.id, one.kind, one.text) for one in refused[:-1]] == [
        (2, "b", "missing field", "toy.jsonl, row 2: the field 'question' is absent"),
        (3, "3", "empty prompt", "toy.jsonl, row 3: question is empty"),
        (4, "4", "wrong type", "toy.jsonl, row 4: question is int 4; it holds a text"),
        (5, "5", "duplicate", "toy.jsonl, row 5: the row is the same item as toy.jsonl, row 1"),
        (6, None, "missing id", "toy.jsonl, row 6: id is null; it holds the row's name"),
    ]
    assert (refused[-1].row, refused[-1].kind) == (7, "unreadable")
    assert isinstance(refused[-1], Refusal)


def test_a_folder_without_the_file_is_told_what_was_looked_for(tmp_path):
    with pytest.raises(EvaluationError, match=r"has no file of Toy; looked for data/toy-\*\.parquet, toy\.jsonl"):
        read(tmp_path)
    with pytest.raises(EvaluationError, match="no such file or folder"):
        read(tmp_path / "none")


def test_the_first_pattern_that_has_files_is_read_and_its_shards_are_all_there(tmp_path):
    write_jsonl(tmp_path / "toy.jsonl", [{"id": 9, "question": "not read"}])
    shards = [tmp_path / "data" / f"toy-0000{k}-of-00002.parquet" for k in range(2)]
    write_parquet(shards[1], [{"id": "b", "question": "B"}, {"id": "c", "question": "A"}])
    with pytest.raises(EvaluationError, match="lacks toy-00000-of-00002"):
        read(tmp_path)
    write_parquet(shards[0], [{"id": "a", "question": "A"}])
    a, b, c = read(tmp_path)
    assert (a.id, b.id) == ("a", "b")
    assert c.text == (
        "toy-00001-of-00002.parquet, row 2: the row is the same item as toy-00000-of-00002.parquet, row 1"
    )


def test_of_several_files_one_must_be_named_where_they_are_no_parts(tmp_path):
    schema = Schema("Toy", ("*.jsonl",), ("id",), one_file=True)
    for name in ("a", "b"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"id": 1, "question": "Q"}])
    with pytest.raises(EvaluationError, match=r"several files that may hold Toy: a\.jsonl, b\.jsonl"):
        find_files(tmp_path, schema)
    assert find_files(tmp_path / "b.jsonl", schema) == [tmp_path / "b.jsonl"]


def test_another_schema_is_refused_by_its_missing_field(tmp_path):
    file = write_jsonl(tmp_path / "toy.jsonl", [{"id": 1, "prompt": "Q"}])
    with pytest.raises(EvaluationError, match=r"'question' is missing\. It has id, prompt\. Give toy\.jsonl\."):
        read(file)
    (item,) = read(file, {"question": "prompt"})
    assert item.request.prompt == "Q"
    with pytest.raises(
        EvaluationError, match=r"'ask', which --field question=ask names, is missing\. It has id, prompt\."
    ):
        read(file, {"question": "ask"})
    with pytest.raises(
        EvaluationError, match="renames 'Question', which is none of the fields of Toy: id, question, image"
    ):
        read(file, {"Question": "prompt"})


def test_a_table_of_text_is_refused_by_its_missing_field(tmp_path):
    file = tmp_path / "toy.tsv"
    file.write_text("index\timage\tquestion\n1\tAAAA\tQ\n")
    with pytest.raises(EvaluationError, match=r"'id' is missing\. It has index, image, question\."):
        read(file)
    file.write_text("id\tquestion\n1\tQ\n")
    with pytest.raises(EvaluationError, match="is a table of text, which is not read"):
        read(file)


def test_a_file_of_no_rows_or_of_another_form_is_refused(tmp_path):
    file = write_jsonl(tmp_path / "toy.jsonl", [])
    with pytest.raises(EvaluationError, match="no rows of Toy"):
        read(file)
    file.write_text("Toy 1, Toy 2\n")
    with pytest.raises(EvaluationError, match=r"row 1, is no row of Toy: .*not JSON.* Give toy\.jsonl"):
        read(file)


def test_an_image_is_its_bytes_or_a_file_that_is_there(tmp_path):
    data, other = tmp_path / "data", tmp_path
    picture = write_picture(other / "images" / "a.png")
    nearer = write_picture(data / "b.png")
    row = NativeRow(
        1,
        {
            "struct": {"bytes": png(), "path": "a.png"},
            "path": {"bytes": None, "path": "images/a.png"},
            "text": "images/a.png",
            "near": "b.png",
        },
        (data, other),
    )
    assert row.image("struct") == png()
    assert row.image("path") == row.image("text") == picture
    assert row.image("near") == nearer


@pytest.mark.parametrize("value", [None, "", b"", {"bytes": None, "path": None}, {"bytes": b"", "path": None}, {}])
def test_no_image_is_a_missing_one(value):
    with pytest.raises(RowError, match="image is absent or empty") as error:
        native(image=value).image("image")
    assert error.value.kind == "missing image"


@pytest.mark.parametrize("path", ["../secret.png", "/etc/hostname", "images/../../secret.png", "none.png", "a\0b", "."])
def test_an_image_elsewhere_or_nowhere_is_a_missing_one(tmp_path, path):
    write_picture(tmp_path / "secret.png")
    (tmp_path / "data").mkdir()
    with pytest.raises(RowError) as error:
        NativeRow(1, {"image": path}, (tmp_path / "data",)).image("image")
    assert error.value.kind == "missing image"


def test_a_file_behind_a_link_is_read_as_in_the_cache_of_the_hub(tmp_path):
    blob = write_picture(tmp_path / "blobs" / "abc")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "a.png").symlink_to(blob)
    found = NativeRow(1, {"image": "a.png"}, (tmp_path / "snapshot",)).image("image")
    assert found == tmp_path / "snapshot" / "a.png"


def test_a_video_is_a_file_or_a_folder(tmp_path):
    frame = write_picture(tmp_path / "video" / "1.png")
    folders = (tmp_path,)
    assert NativeRow(1, {"video": "video"}, folders).video("video") == frame.parent
    assert NativeRow(1, {"video": "video/1.png"}, folders).video("video") == frame
    for value, kind in ((None, "missing video"), ("none", "missing video"), (7, "wrong type")):
        with pytest.raises(RowError) as error:
            NativeRow(1, {"video": value}, folders).video("video")
        assert error.value.kind == kind


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "missing field"),
        ("ab", "wrong type"),
        (["a", 1], "wrong type"),
        (["a", None], "wrong type"),
        (["a", " \n"], "empty response"),
    ],
)
def test_responses_are_texts_with_something_in_them(value, kind):
    with pytest.raises(RowError) as error:
        native(responses=value).responses("responses")
    assert error.value.kind == kind


def test_errors_name_the_field_as_the_file_does():
    row = NativeRow(1, {"answers": 3}, (), {"responses": "answers"})
    with pytest.raises(RowError, match=r"^answers \(the responses\) is int 3; it holds a list$"):
        row.responses("responses")


def test_an_id_is_a_text_or_a_whole_number():
    assert native(id="a").identifier("id") == "a"
    assert native(id=7).identifier("id") == "7"
    for value in (None, True, 1.5, []):
        with pytest.raises(RowError):
            native(id=value).identifier("id")


def test_keys_tell_apart_what_runs_together():
    assert key_of("a", "bc") != key_of("ab", "c")
    assert key_of("a", ["b"]) == key_of("a", ["b"])
    assert key_of("\ud800", b"x")
