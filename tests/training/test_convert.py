"""Files of other forms become lines that the one reader takes, and what cannot is named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from yoj.runtime.codec import Ignore
from yoj.training._convert import ConversionJob, Counts, convert
from yoj.training._errors import DataError
from yoj.training._forms import FORMS
from yoj.training._rankings import Needs
from yoj.training.cli import main
from yoj.training.samples import read_samples

USER = {"role": "user", "content": "Hi"}


def say(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


class Folder:
    """A folder with a picture, and what was said."""

    def __init__(self, place: Path):
        self.place, self.spec, self.out = place, list[str](), place / "out.jsonl"
        Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(place / "bus.jpg")
        (place / "frames").mkdir()
        Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(place / "frames" / "0.png")

    def convert(self, form: str, *rows: Any, **wanted: Any) -> list[dict[str, Any]]:
        """Lines that come out."""
        source = self.place / "in.jsonl"
        source.write_text("\n".join(json.dumps(row) for row in rows) + "\n", "utf-8")
        self.counts = self.convert_file(form, source, **wanted)
        return self.lines()

    def convert_file(self, form: str, source: Path, **wanted: Any) -> Counts:
        return convert(ConversionJob(form, source, **({"out": self.out} | wanted)), self.spec.append)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text("utf-8").splitlines()]

    def refused(self, form: str, *rows: Any, **wanted: Any) -> str:
        with pytest.raises(DataError) as caught:
            self.convert(form, *rows, **wanted)
        assert sorted(path.name for path in self.place.iterdir()) == ["bus.jpg", "frames", "in.jsonl"]
        return str(caught.value)


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


EXAMPLES: dict[str, dict[str, Any]] = {
    "preference": {"prompt": "What is shown?", "responses": ["A bus.", "A cat."], "rankings": [1, 2],
                   "image": ["bus.jpg"]},
    "conversations": {"prompt": [{"role": "user", "content": "What is shown?"}], "responses": ["A bus.", "A cat."],
                      "rankings": [1, 2], "image": ["bus.jpg"]},
    "hh": {"prompt": [USER], "responses": ["Hello!", "What?"], "rankings": [1, 2]},
    "nectar": {"prompt": [USER], "responses": ["Hello!", "What?"], "rankings": [1, 2]},
    "ranked": {"prompt": "What is shown?", "responses": ["A cat.", "A bus."], "rankings": [2, 1], "image": "bus.jpg"},
    "reference": {"prompt": "What happens?", "responses": ["a", "b"], "rankings": [1, 2], "video": "frames",
                  "seconds_between_frames": 4},
    "vl_rewardbench": {"prompt": "What is shown?", "responses": ["A bus.", "A cat."], "rankings": [1, 2],
                       "image": "bus.jpg", "id": "7"},
    "multimodal_rewardbench": {"prompt": "What is shown?", "responses": ["A bus.", "A cat."], "rankings": [1, 2],
                               "image": "bus.jpg", "id": "a", "kind": "safety"},
    "safe_rlhf": {"prompt": "Hi", "responses": ["What?", "Hello!"], "rankings": [2, 1]},
}  # fmt: skip


@pytest.mark.parametrize("form", list(FORMS))
def test_the_row_that_help_shows_is_converted(form, folder):
    assert folder.convert(form, json.loads(FORMS[form].example)) == [EXAMPLES[form]]
    assert folder.spec[0].startswith(f"{folder.place / 'in.jsonl'}: 1 rows of the form {form}, 1 can be converted.")
    samples, problems = read_samples(folder.out)
    assert ([numbered.line for numbered in samples], problems) == ([1], [])


PAIRS = [
    pytest.param({"prompt": "Hi", "chosen": "a", "rejected": "b"}, "Hi", ["a", "b"], [1, 2], id="texts"),
    pytest.param({"question": "Hi", "chosen": ["a", "b"], "rejected": ["c", "d", "e"]}, "Hi",
                 ["a", "b", "c", "d", "e"], [1, 1, 2, 2, 2], id="lists of texts"),
    pytest.param({"instruction": "Add.", "input": "1 2", "chosen": "3", "rejected": "4"}, "Add.\n1 2",
                 ["3", "4"], [1, 2], id="instruction and input"),
    pytest.param({"prompt": [USER], "chosen": [say("a")], "rejected": [say("b")]}, [USER], ["a", "b"], [1, 2],
                 id="explicit conversation"),
    pytest.param({"chosen": [USER, say("a")], "rejected": [USER, say("b")]}, [USER], ["a", "b"], [1, 2],
                 id="implicit conversation"),
    pytest.param({"chosen": [USER, say("x"), USER, say("a")], "rejected": [USER, say("x"), USER, say("b")]},
                 [USER, say("x"), USER], ["a", "b"], [1, 2], id="implicit conversation of several turns"),
    pytest.param({"prompt": "Hi", "chosen": [USER, say("a")], "rejected": [USER, say("b")]}, [USER], ["a", "b"],
                 [1, 2], id="prompt beside the conversation"),
    pytest.param({"prompt": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "a"},
                  "rejected": {"from": "gpt", "value": "b"}}, [USER], ["a", "b"], [1, 2], id="from and value"),
    pytest.param({"prompt": [USER], "chosen": [say("a") | {"content": [{"type": "text", "text": "a", "image": None}]}],
                  "rejected": [say("b")]}, [USER], ["a", "b"], [1, 2], id="a text in parts"),
    pytest.param({"system": "Be kind.", "prompt": "Hi", "chosen": "a", "rejected": "b"},
                 [{"role": "system", "content": "Be kind."}, USER], ["a", "b"], [1, 2], id="system"),
    pytest.param({"prompt": "Hi", "chosen": "a", "rejected": "b", "input": None, "other": None}, "Hi", ["a", "b"],
                 [1, 2], id="null is as good as left out"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "prompt", "responses", "rankings"), PAIRS)
def test_pairs_in_every_way_that_they_are_written(row, prompt, responses, rankings, folder):
    assert folder.convert("preference", row) == [{"prompt": prompt, "responses": responses, "rankings": rankings}]


def test_conversations_with_and_without_a_worse_answer(folder):
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]
    messages = [{"role": "system", "content": "Be kind."}, USER, say("Hello!")]
    lines = folder.convert(
        "conversations",
        {"conversations": turns, "id": 3},
        {"messages": messages, "rejected_response": "What?"},
        {"messages": messages, "rejected_response": ["What?", "No."]},
    )
    assert lines == [
        {"prompt": [USER], "responses": ["Hello!"], "id": 3},
        {"prompt": messages[:2], "responses": ["Hello!", "What?"], "rankings": [1, 2]},
        {"prompt": messages[:2], "responses": ["Hello!", "What?", "No."], "rankings": [1, 2, 2]},
    ]
    assert "1 have no rankings: they serve the objective language alone." in folder.spec[0]
    assert [problem.kind for problem in read_samples(folder.out)[1]] == ["no rankings"]
    assert read_samples(folder.out, Needs(ranked=False))[1] == []


def test_every_way_to_keep_rows_in_a_file_gives_the_same_lines(folder):
    rows = [{"prompt": 'a, "]" b', "chosen": "a", "rejected": "b"}, {"prompt": "c", "chosen": "a", "rejected": "b"}]
    expected = folder.convert("preference", *rows)
    lines, array = "\n\n".join(map(json.dumps, rows)), json.dumps(rows, indent=1)
    for name, text in (
        ("a.json", array.encode()), ("b.json.gz", gzip.compress(array.encode())), ("c.json", b"\xef\xbb\xbf [ ] "),
        ("d.jsonl.gz", gzip.compress(lines.encode())), ("e.json", json.dumps(rows).encode()),
    ):  # fmt: skip
        (folder.place / name).write_bytes(text)
        folder.out = folder.place / f"out-{name}"
        folder.convert_file("preference", folder.place / name)
        assert folder.lines() == ([] if name == "c.json" else expected)


def test_parquet_tables_hold_their_pictures(folder):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    held = (folder.place / "bus.jpg").read_bytes()
    row = {"question": "What?", "image": {"bytes": held, "path": "7.jpg"}, "chosen": "a", "rejected": "b", "more": None}
    parquet.write_table(arrow.Table.from_pylist([row, row]), folder.place / "in.parquet")
    folder.convert_file("preference", folder.place / "in.parquet")
    assert {(folder.place / line["image"]).read_bytes() for line in folder.lines()} == {held}
    assert len(list((folder.place / "out-media").iterdir())) == 1


def test_parquet_without_its_package_is_said_plainly(folder):
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        (folder.place / "in.parquet").write_bytes(b"PAR1" + bytes(20) + b"PAR1")
        with pytest.raises(DataError, match=r"Parquet file, which needs the package pyarrow: pip install pyarrow"):
            folder.convert_file("preference", folder.place / "in.parquet")
    else:
        (folder.place / "in.parquet").write_bytes(b"PAR1" + bytes(20) + b"PAR1")
        with pytest.raises(DataError, match="cannot be read"):
            folder.convert_file("preference", folder.place / "in.parquet")


WRONG = [
    ("preference", {"chosen": "Hi a", "rejected": "Hi b"}, "there is no prompt, and where it ends"),
    ("preference", {"prompt": "Hi", "chosen": "a"}, "there is no rejected; the form has prompt"),
    ("preference", {"prompt": "Hi", "question": "Ho", "chosen": "a", "rejected": "b"}, "there are prompt and question"),
    ("preference", {"prompt": "Hi", "chosen": "a", "rejected": "a"}, "a chosen and a rejected response are equal"),
    ("preference", {"prompt": "Hi", "chosen": [], "rejected": "a"}, "chosen does not end with an answer"),
    ("preference", {"prompt": "Ho", "chosen": [USER, say("a")], "rejected": "b"}, "chosen begins with other turns"),
    ("preference", {"chosen": [USER, say("a")], "rejected": [say("x"), USER, say("b")]}, "different conversations"),
    ("preference", {"prompt": "Hi", "chosen": "a", "rejected": "b", "score": 1}, "the form has no score; put such"),
    ("preference", {"prompt": "Hi", "chosen": "a", "rejected": "b", "image": "no.jpg"}, "no.jpg: no such file"),
    ("preference", {"prompt": "Hi", "chosen": "a", "rejected": "b", "image": "../a.jpg"}, "which lies outside of"),
    ("preference", {"prompt": "Hi", "chosen": "a", "rejected": "b", "videos": ["a", "b"]}, "videos holds 2; a sample"),
    ("preference", {"prompt": "Hi <image>", "chosen": "a", "rejected": "b"}, "places for 1 images and 0 videos, but 0"),
    ("preference", {"prompt": "Hi", "chosen": "a", "rejected": "b", "id": 1.5}, "id"),
    ("conversations", {"conversations": [{"from": "human", "value": "Hi"}]}, "does not end with an answer, and there"),
    ("conversations", {"conversations": [{"from": "tool", "value": "Hi"}]}, "conversations[0] is of 'tool'; known are"),
    ("conversations", {"conversations": [{"from": "human", "value": "Hi", "weight": 1}]}, "a turn has role and"),
    ("conversations", {"messages": [USER], "chosen": "a"}, "one of chosen and rejected without the other"),
    ("hh", {"chosen": "Hi", "rejected": "Ho"}, "chosen is 'Hi'; it begins with an empty line"),
    ("hh", {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"}, "differ before"),
    ("hh", {"chosen": "\n\nHuman: a\n\nHuman: b", "rejected": "\n\nHuman: c"}, "do not take turns in chosen"),
    ("nectar", {"prompt": "\n\nHuman: a\n\nAssistant: b", "answers": []}, "prompt does not end with 'Assistant:'"),
    ("ranked", {"prompt": "Hi", "responses": ["a", "b"], "rankings": [0.3, 0.7]}, "no ranks"),
    ("reference", {"prompt": "Hi", "responses": ["a", "b"], "rankings": [1, 1]}, "all 2 responses have rank 1"),
    ("vl_rewardbench", {"query": "Hi", "response": ["a", "b"], "human_ranking": "0,1"}, "human_ranking is '0,1'"),
    ("multimodal_rewardbench", {"Text": "a", "Output1": "b", "Output2": "c", "Better": "A"}, "Better is 'A'"),
    ("safe_rlhf", {"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": 2}, "response_id is 2"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("form", "row", "words"), WRONG)
def test_a_row_that_cannot_be_converted_is_named_and_nothing_is_written(form, row, words, folder):
    good = json.loads(FORMS[form].example)
    message = folder.refused(form, good, row, good)
    assert f"in.jsonl: 3 rows of the form {form}, 2 can be converted.\n  row 2" in message
    assert words in message
    assert message.endswith("Nothing is written. Correct them, or leave them out with --skip-invalid.")


def test_rows_are_left_out_where_that_was_asked_for_and_all_are_named(folder):
    good = {"prompt": "Hi", "chosen": "a", "rejected": "b"}
    rows = [good, {"prompt": "Hi"}, good | {"chosen": "b", "id": "x"}, {"prompt": "Ho"}]
    assert len(folder.convert("preference", *rows, skip=True)) == 1
    assert "  rows 2, 4: there is no chosen; the form has" in folder.spec[0]
    assert "  row 3 (id 'x'): a chosen and a rejected response are equal" in folder.spec[0]
    assert folder.spec[0].endswith("3 are left out.")
    folder.out.unlink()
    assert folder.refused("preference", *rows[1:], skip=True).endswith("Nothing is written.")


def test_fields_that_the_form_does_not_have(folder):
    row = {"prompt": "Hi", "chosen": "a", "rejected": "b", "score": 0.5, "metadata": {"of": 1}}
    assert folder.convert("preference", row, keep_unknown=True)[0]["metadata"] == {"score": 0.5, "metadata": {"of": 1}}
    folder.out.unlink()
    for ignore in (Ignore(frozenset(["score"])), Ignore(unknown=True)):
        assert folder.convert("preference", row, ignore=ignore)[0]["metadata"] == {"of": 1}
        folder.out.unlink()


def test_marks_of_media_keep_their_places(folder):
    def made(prompt: Any, **more: Any) -> dict[str, Any]:
        return folder.convert("preference", {"prompt": prompt, "chosen": "a", "rejected": "b", **more})[0]

    # At the beginning media stand anyway, without the line feed of the template.
    assert made("<image>\nWhat?", image="bus.jpg")["prompt"] == "What?"
    assert "In 1 prompts the marks of media at the beginning" in folder.spec[-1]
    for prompt, images in (("Look: <image> What?", "bus.jpg"), ("<image>Is it <image>?", ["bus.jpg", "bus.jpg"])):
        folder.out.unlink()
        line = made(prompt, image=images)
        assert (line["prompt"], line["placeholders"]) == (prompt, "media")
    (numbered,), _ = read_samples(folder.out)
    assert len(numbered.request().images) == 2


def test_media_are_named_from_the_folder_of_what_is_written(folder):
    (folder.place / "sub").mkdir()
    parts = [{"role": "user", "content": [{"type": "image", "image": "bus.jpg"}, {"type": "text", "text": "What?"}]}]
    out = folder.place / "sub" / "out.jsonl"
    folder.out = out
    rows = [{"prompt": "Hi", "image": "bus.jpg"}, {"prompt": parts}, {"prompt": "Hi", "video": ["frames/0.png"]}]
    lines = folder.convert("preference", *(row | {"chosen": "a", "rejected": "b"} for row in rows))
    assert lines[0]["image"] == "../bus.jpg"
    assert lines[1]["prompt"][0]["content"][0] == {"type": "image", "image": "../bus.jpg"}
    assert lines[2]["video"] == ["../frames/0.png"]
    assert folder.spec[-1] == f"Media lie outside of {out.parent}: set media_root of the recipe to {folder.place}."
    assert read_samples(out, media_root=folder.place)[1] == []


def test_a_file_that_is_there_is_not_written_over(folder):
    folder.out.write_text("precious", "utf-8")
    with pytest.raises(DataError, match="is there already"):
        folder.convert("preference", json.loads(FORMS["preference"].example))
    assert folder.out.read_text("utf-8") == "precious"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'[{"a": 1}, {"a"', "whose item 2 cannot be read"),
        (b'[{"a": 1} {"a": 2}]', "does not go on or end after item 1"),
        (b'[{"a": 1}] {"a": 2}', "something behind its JSON array"),
        (b'{\n "a": 1\n}', "JSON objects of several lines"),
        (gzip.compress(b"[1]", mtime=0)[:-9], "damaged gzip file"),
        (b'[{"prompt": "a", "prompt": "b"}]', "the field 'prompt' twice"),
        (b"[1, 2]", "rows 1, 2: The request is a number"),
    ],
)
def test_files_that_are_none_of_these(text, words, folder):
    (folder.place / "in.json").write_bytes(text)
    with pytest.raises(DataError) as caught:
        folder.convert_file("preference", folder.place / "in.json")
    assert words in str(caught.value)
    assert not folder.out.exists()


def test_the_command_says_what_it_did(folder):
    (folder.place / "in.json").write_text(json.dumps([json.loads(FORMS["hh"].example)]), "utf-8")
    command = ["convert", "hh", str(folder.place / "in.json"), str(folder.out)]
    done = CliRunner().invoke(main, command)
    assert (done.exit_code, "1 rows of the form hh, 1 can be converted." in done.output) == (0, True)
    again = CliRunner().invoke(main, command)
    assert (again.exit_code, "is there already" in again.output) == (1, True)
    told = "".join(CliRunner().invoke(main, ["convert", "--help"]).output.split())
    assert all("".join(form.example.split()) in told for form in FORMS.values())


@pytest.mark.parametrize(
    ("form", "row", "text"),
    [
        ("safe_rlhf", {"prompt": "Q", "response_0": "a", "response_1": "a", "better_response_id": 1}, "are equal"),
        ("safe_rlhf", {"prompt": "Q", "response_0": "a", "response_1": "b", "better_response_id": True}, "is 0 or 1"),
        ("ranked", {"prompt": "Q", "responses": ["a", "a"], "rankings": [1, 2]}, "are equal"),
        ("vl_rewardbench", {"query": "Q", "response": ["a", "b"], "human_ranking": [True, False]}, "counts from 0"),
        ("reference", {"prompt": "Q", "responses": ["a", "b"], "rankings": [1, 2], "fps": 1,
                       "seconds_between_frames": 2}, "the same thing"),
        ("preference", {"prompt": ["a", "b"], "chosen": [{"role": "user", "content": "a"},
                        {"role": "assistant", "content": "b"}], "rejected": [{"role": "user", "content": "a"},
                        {"role": "assistant", "content": "c"}]}, "a turn has role and content"),
        ("preference", {"instruction": [{"role": "user", "content": "a"}], "input": "more", "chosen": "b",
                        "rejected": "c"}, "both are texts"),
        ("preference", {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
                        "chosen": [{"role": "system", "content": "t"}, {"role": "user", "content": "a"},
                                   {"role": "assistant", "content": "b"}],
                        "rejected": [{"role": "system", "content": "t"}, {"role": "user", "content": "a"},
                                     {"role": "assistant", "content": "c"}]}, "other turns than prompt"),
    ],
)  # fmt: skip
def test_rows_that_say_two_things_are_refused(form, row, text, folder):
    assert text in folder.refused(form, row)


def test_the_system_turn_of_the_prompt_is_kept(folder):
    turns = [{"role": "user", "content": "a"}]
    row = {"prompt": [{"role": "system", "content": "s"}, *turns]}
    row |= {side: [*turns, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    (line,) = folder.convert("preference", row)
    assert [turn["role"] for turn in line["prompt"]] == ["system", "user"]
