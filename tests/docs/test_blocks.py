"""Every block of code in the documentation is run, or a comment before it says why not.

Blocks of ``python`` and of commands run here in the order of their page, in one folder with the files that they name,
with a shipped judge as ``judge.yoj``; ``json`` and ``yaml`` are parsed; ``text`` is what something printed or looks
like. Those of the README have tests of their own.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from blocks import ROOT, Block, blocks
from commands import run_here
from PIL import Image
from servers import command_serving

PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMAND_KINDS = ("", "sh")
DATA = ROOT / "tests" / "golden" / "data"
BULK = ROOT / "docs" / "bulk.md"
INLINE = re.compile(r"`(yoj-[a-z]+ [^`]+)`")
LINE = {"prompt": "What is shown?", "responses": ["A cat.", "A red bus."], "uid": 7}


def pages_of(*kinds: str) -> list[Path]:
    """Pages with blocks that run here and are of one of the kinds."""
    return [page for page in PAGES if any(one.kind in kinds and not one.mark for one in blocks(page))]


def test_fences_are_all_found():
    for page in PAGES:
        assert page.read_text("utf-8").count("```") == 2 * len(blocks(page)), page.name


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_it_is_run_or_says_why_not(block):
    known = (*COMMAND_KINDS, "python", "bash", "json", "yaml", "text")
    if not block.mark:
        assert block.kind in known, "no test runs blocks of this kind; say <!-- not run: why --> on the line before it"
    elif block.mark.startswith("run by "):
        test = ROOT / block.mark.removeprefix("run by ")
        assert block.page.name in test.read_text("utf-8"), f"{test} does not name {block.page.name}"
    else:
        assert re.fullmatch(r"not run: \S.+", block.mark), f"{block.mark!r} is neither 'not run: why' nor 'run by test'"
        for named in re.findall(r"(?:tests|examples)/[\w/.-]*\w", block.mark):
            assert (ROOT / named).exists(), f"{named} is not there"


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.kind in ("json", "yaml") and not one.mark], ids=str)
def test_data_can_be_parsed(block):
    if block.kind == "yaml":
        assert yaml.safe_load(block.text)
        return
    try:
        json.loads(block.text)
    except json.JSONDecodeError:  # one object a line
        assert [json.loads(line) for line in block.text.splitlines()]


def named_commands() -> list[tuple[str, str]]:
    """Command lines of all pages, also of blocks that are not run and of the text, with their places."""
    lines = [
        (str(block), line)
        for block in [*BLOCKS, *blocks(ROOT / "README.md")]
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.startswith("yoj-")
    ]
    pages = {*PAGES, ROOT / "README.md"} - {ROOT / "docs" / "compatibility.md"}  # which has the old names
    spans = [(page.name, span) for page in pages for span in INLINE.findall(page.read_text("utf-8"))]
    return lines + [(name, span.replace("\n", " ")) for name, span in spans]


def test_options_of_commands_exist():
    """A word that begins with two hyphens is an option of the command that the words before it name."""
    unknown = []
    for place, line in named_commands():
        words = re.sub(r"\\\||[<>|&].*", " ", line).split()
        options = options_of(words)
        used = {word.partition("=")[0] for word in words if word.startswith("--") and word != "--"}
        unknown += [f"{place}: {words[0]} has no {option}: {line}" for option in sorted(used - options)]
    assert unknown == []


def options_of(words: list[str]) -> set[str]:
    """Options of the command or subcommand that words name; of `yoj-export` without one, those of ``build``."""
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="console_scripts", name=words[0])
    command = entry.load()
    for word in words[1:]:
        if not isinstance(command, click.Group):
            break
        command = command.commands.get(word) or command.commands.get("build") or command
    return {name for parameter in command.params for name in parameter.opts} | {"--help", "--version"}


@pytest.fixture
def folder(bundle, tmp_path, monkeypatch) -> Path:
    """Folder with the files that the pages name, in which the test runs."""
    (tmp_path / "judge.yoj").symlink_to(bundle("shapes", "assistant"))
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    shutil.copy(DATA / "images" / "landscape_shapes.png", tmp_path / "photo.jpg")
    shutil.copy(DATA / "images" / "odd_small.png", tmp_path / "other.jpg")
    shutil.copytree(DATA / "images" / "frames_ball", tmp_path / "frames")
    for name in ("before.png", "a.png", "b.png"):
        Image.new("RGB", (64, 64), (200, 30, 90)).save(tmp_path / name)
    write(tmp_path / "requests.jsonl", LINE | {"image": "photo.jpg"}, LINE)
    write(tmp_path / "shards" / "a.jsonl", LINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(file: Path, *lines: dict) -> None:
    """Write lines without the field that only rows of Parquet may have."""
    file.parent.mkdir(exist_ok=True)
    kept = [{name: value for name, value in line.items() if name != "uid"} for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.parametrize("page", pages_of("python"), ids=lambda page: page.name)
def test_python_runs(page, folder):
    """What a block defines the next blocks of its page may use."""
    names: dict[str, object] = {}
    for block in blocks(page):
        if block.kind == "python" and not block.mark:
            with redirect_stdout(io.StringIO()):
                exec(compile(block.text, str(block), "exec"), names)


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.parametrize("page", pages_of(*COMMAND_KINDS), ids=lambda page: page.name)
def test_commands_run(page, folder):
    for block in blocks(page):
        if block.kind in COMMAND_KINDS and not block.mark:
            for line in block.text.replace("\\\n", " ").splitlines():
                run(line, folder)


def run(line: str, folder: Path) -> None:
    """Run a line of yoj's commands; what an export makes is there already."""
    line, _, file = line.partition(" > ")
    words = shlex.split(line, comments=True)
    if not words or ("--out" in words and words[words.index("--out") + 1] == "judge.yoj"):
        return
    done = run_here(*words, cwd=folder)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    if file:
        (folder / file).write_text(done.stdout, "utf-8")


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.parametrize("line", next(one.text for one in blocks(BULK) if one.kind == "sh").splitlines())
def test_bulk_commands_run(line, folder, monkeypatch):
    """Commands of ``bulk.md`` are ways to call one command, each with inputs of its own."""
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    if "parquet" in line:
        field = "question" if "question=prompt" in line else "prompt"
        row = {field: [LINE["prompt"]], "responses": [LINE["responses"]], "uid": [LINE["uid"]]}
        for file in ("shards/train-0.parquet", "train.parquet"):
            pq.write_table(pa.table(row), file)
    run(line.replace('"$SLURM_ARRAY_TASK_ID/8"', "1/8"), folder)


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
@pytest.mark.parametrize("block", [one for one in BLOCKS if one.kind == "bash"], ids=str)
def test_servers_answer(block: Block, folder):
    """The first line starts the server, the others ask it."""
    start, *asking = block.text.replace("\\\n", " ").splitlines()
    words = re.fullmatch(r"yoj-serve http judge\.yoj(.*) &", start)
    assert words, start
    with command_serving(folder / "judge.yoj", shlex.split(words[1])) as (child, base, _):
        script = "\n".join(
            [line.replace("localhost:8000", base) + "; echo" for line in asking if not line.endswith("&")]
        )
        before = "\n".join(line.replace("localhost:8000", base) for line in asking if line.endswith("&"))
        done = subprocess.run(f"{before}\n{script}\nwait", shell=True, cwd=folder, capture_output=True, text=True)
        child.terminate()
    answers = [json.loads(line) for line in done.stdout.replace("}{", "}\n{").splitlines() if line]
    assert len(answers) == len(asking), done
    assert not any("error" in answer for answer in answers)
