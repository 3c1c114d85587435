"""Where a chat template stands and which of several counts: transformers' tokenizer is the yardstick."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from yoj.export._errors import CheckpointError
from yoj.export.checkpoint.checkpoint import Checkpoint
from yoj.export.prompts._template_files import read_template

MERGED = Path(__file__).parents[2] / "golden" / "data" / "checkpoint-merged"
RIGHT, OTHER = "{{ 'right' }}", "{{ 'other' }}"


@pytest.fixture
def folder(tmp_path):
    """A checkpoint without a chat template."""
    folder = shutil.copytree(MERGED, tmp_path / "merged")
    (folder / "chat_template.jinja").unlink()
    return folder


def write(folder: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        if name.endswith(".jinja"):
            file.write_text(str(content), "utf-8")
            continue
        before = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        file.write_text(json.dumps(before | {"chat_template": content}), "utf-8")


def named(**templates: str) -> list[dict[str, str]]:
    return [{"name": name, "template": template} for name, template in templates.items()]


CONFIG = "tokenizer_config.json"
FOUND = {
    "a list": ({CONFIG: named(tool_use=OTHER, default=RIGHT)}, CONFIG),
    "a list of one": ({CONFIG: named(default=RIGHT)}, CONFIG),
    "an object": ({CONFIG: {"rag": OTHER, "default": RIGHT}}, CONFIG),
    "a name given twice": ({CONFIG: [*named(default=OTHER), *named(default=RIGHT)]}, CONFIG),
    "a file before a list": ({"chat_template.jinja": RIGHT, CONFIG: named(default=OTHER)}, "chat_template.jinja"),
    "a file and named ones": (
        {"chat_template.jinja": RIGHT, "additional_chat_templates/tool_use.jinja": OTHER},
        "chat_template.jinja",
    ),
    "named ones alone": (
        {"additional_chat_templates/default.jinja": RIGHT, "additional_chat_templates/rag.jinja": OTHER, CONFIG: OTHER},
        "additional_chat_templates/default.jinja",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", FOUND)
def test_the_default_is_taken_where_transformers_takes_it(case, folder):
    files, expected = FOUND[case]
    write(folder, files)
    assert AutoTokenizer.from_pretrained(folder, local_files_only=True).get_chat_template() == RIGHT
    assert read_template(Checkpoint.open([folder])) == (folder / expected, RIGHT)


@pytest.mark.parametrize("name", ["chat_template.json", "processor_config.json"])
@pytest.mark.parametrize("stated", [RIGHT, named(default=RIGHT, other=OTHER), {"default": RIGHT}])
def test_the_processors_file_comes_before_the_tokenizers_settings(name, stated, folder):
    write(folder, {name: stated, CONFIG: OTHER})
    assert read_template(Checkpoint.open([folder])) == (folder / name, RIGHT)


def test_the_same_template_in_two_files_is_one(folder):
    write(folder, {"chat_template.jinja": RIGHT, "chat_template.json": RIGHT})
    assert read_template(Checkpoint.open([folder]))[1] == RIGHT


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_template(Checkpoint.open([folder]))
    return str(caught.value)


def test_unlike_templates_in_two_files_are_refused(folder):
    write(folder, {"chat_template.jinja": RIGHT, "chat_template.json": OTHER})
    text = refusal(folder)
    assert f"{folder / 'chat_template.jinja'}, {folder / 'chat_template.json'} hold unlike chat templates" in text


def test_none_that_is_called_default_is_an_error_with_those_there(folder):
    write(folder, {CONFIG: named(rag=RIGHT, tool_use=OTHER)})
    text = refusal(folder)
    assert f"{folder / CONFIG}: chat_template has the templates rag, tool_use, and none is called default" in text


def test_a_folder_of_templates_without_the_default_is_an_error(folder):
    write(folder, {"additional_chat_templates/rag.jinja": RIGHT})
    assert "additional_chat_templates has the chat templates rag" in refusal(folder)


@pytest.mark.parametrize("stated", [7, [RIGHT], [{"name": "default"}], [{"template": RIGHT}], {"default": 3}, [[]]])
def test_a_malformed_template_is_named(stated, folder):
    write(folder, {CONFIG: stated})
    text = refusal(folder)
    assert f"{folder / CONFIG}: chat_template is" in text
    assert "Copy the file" in text


def test_a_template_that_is_not_utf8_is_named(folder):
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe\x00")
    assert f"{folder / 'chat_template.jinja'} is not UTF-8" in refusal(folder)


def test_every_file_of_templates_is_hashed(folder):
    files = {"chat_template.json": RIGHT, "additional_chat_templates/rag.jinja": OTHER}
    write(folder, files)
    assert {folder / name for name in files} <= set(Checkpoint.open([folder]).files())
