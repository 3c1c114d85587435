"""Files of a benchmark from a path, or from a server on this machine that speaks the hub's API."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import Hub, serve

from yoj.evaluation._errors import EvaluationError
from yoj.evaluation._items import Item
from yoj.evaluation._source import BenchmarkFiles, FileRecord, open_source
from yoj.evaluation.benchmarks._rewardbench2 import BENCHMARK
from yoj.runtime import Request
from yoj.runtime.errors import HubError

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""SHA-256 of the bytes abc, as its standard prints it."""
COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def folder(tmp_path):
    """A folder as it is published, with what is no part of the data."""
    place = tmp_path / "given"
    for name in ("data/test-00000-of-00001.parquet", "images/a.png", "README.md", ".git/HEAD", ".gitattributes"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"abc")
    return place


def test_every_file_of_a_folder_is_recorded(folder):
    source = open_source(str(folder), BENCHMARK)
    assert source.path == folder
    each = {"sha256": ABC, "bytes": 3}
    assert source.record == {
        "repository": None,
        "commit": None,
        "files": {"data/test-00000-of-00001.parquet": each, "images/a.png": each},
    }


def test_a_file_is_recorded_alone_by_its_name(folder):
    source = open_source(str(folder / "images" / "a.png"), BENCHMARK)
    assert (source.path, dict(source.files)) == (folder / "images" / "a.png", {"a.png": FileRecord(ABC, 3)})


def test_pictures_that_items_of_one_file_name_are_recorded(folder, tmp_path):
    def items(*images: Path | bytes) -> list[Item]:
        return [Item("k", "k", "g", "c", Request("Which?", ["a", "b"], [one]), (1, 2)) for one in images]

    (tmp_path / "b.png").write_bytes(b"abc")
    source = open_source(str(folder / "data" / "test-00000-of-00001.parquet"), BENCHMARK)
    shown = items(folder / "data" / "c.png", tmp_path / "b.png", b"in the file")
    (folder / "data" / "c.png").write_bytes(b"abc")
    names = ["../../b.png", "c.png", "test-00000-of-00001.parquet"]
    before = source.with_media(shown)
    assert list(before.files) == names
    assert before.files["c.png"] == FileRecord(ABC, 3)
    (folder / "data" / "c.png").write_bytes(b"abcd")
    with pytest.raises(EvaluationError, match=f"c.png had the SHA-256 {ABC} in the earlier run and has "):
        source.with_media(shown).check_same(before.record)
    whole = open_source(str(folder), BENCHMARK)
    assert whole.with_media(items(folder / "images" / "a.png")) == whole


def test_what_a_link_leads_to_is_recorded_once(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.png").write_bytes(b"abc")
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "images" / "round").symlink_to(folder)
    assert list(open_source(str(folder), BENCHMARK).files) == [
        "data/test-00000-of-00001.parquet",
        "images/a.png",
        "more/b.png",
    ]


def test_what_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match=r"nothing/at/all is no .*allenai/reward-bench-2@main"):
        open_source("nothing/at/all", BENCHMARK)
    with pytest.raises(HubError, match="say which revision: org/data@main"):
        open_source("org/data", BENCHMARK)
    with pytest.raises(EvaluationError, match="holds no file"):
        open_source(str(tmp_path), BENCHMARK)
    (tmp_path / "a.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(EvaluationError, match=r"a.parquet is a pointer of Git LFS.*git lfs pull"):
        open_source(str(tmp_path), BENCHMARK)


def source_of(commit: str | None = None, **digests: str) -> BenchmarkFiles:
    files = {name: FileRecord(digest, 1) for name, digest in digests.items()}
    return BenchmarkFiles(Path("given"), "org/data" if commit else None, commit, files)


def test_the_same_files_are_the_same_source():
    earlier = json.loads(json.dumps(source_of(COMMIT, a="1", b="2").record))
    source_of(COMMIT, a="1", b="2").check_same(earlier)
    source_of(None, a="1", b="2").check_same(earlier)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (source_of("f" * 40, a="1", b="2"), f"read org/data@{COMMIT}, this one org/data@{'f' * 40}"),
        (source_of(None, a="1", b="3"), "b had the SHA-256 2 in the earlier run and has 3 in this one"),
        (source_of(None, a="1"), "b had the SHA-256 2 in the earlier run and has that of no file"),
        (source_of(None, a="1", b="2", c="3"), "c had the SHA-256 of no file in the earlier run and has 3"),
        (source_of(None, a="7", b="3"), "a had the SHA-256 1 .* and 1 more files differ"),
    ],
)
def test_other_files_are_refused_by_name(now, told):
    with pytest.raises(EvaluationError, match=told):
        now.check_same(source_of(COMMIT, a="1", b="2").record)


@pytest.mark.parametrize("earlier", [{}, {"commit": None, "files": ["a"]}, {"commit": None, "files": {"a": {}}}])
def test_what_is_no_record_is_refused(earlier):
    with pytest.raises(EvaluationError, match="names no commit and files"):
        source_of(None, a="1").check_same(earlier)


CODE = """
import json, sys
from yoj.evaluation._source import open_source
from yoj.evaluation.benchmarks._rewardbench2 import BENCHMARK
said = []
for name in sys.argv[1:]:
    try:
        source = open_source(name, BENCHMARK)
        said.append([str(source.path), source.record])
    except Exception as error:
        said.append([type(error).__name__, str(error)])
print(json.dumps(said))
"""


def opened(hub: Hub, cache, *names: str, **more: str) -> list[list]:
    """Results of a process whose hub is the server: huggingface_hub reads its variables when it is imported."""
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1"} | more
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))}
    done = subprocess.run([sys.executable, "-c", CODE, *names], env=kept | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_data_set_of_the_hub_is_downloaded_and_its_commit_recorded(folder, tmp_path):
    (folder / "data" / "loader.py").write_text("raise SystemExit('this was run')", "utf-8")
    repos = {"datasets/org/data": {"v1": folder}, "datasets/org/gated": {"main": folder}, "org/model": {"main": folder}}
    with serve(Hub(repos, {"datasets/org/gated"})) as hub:
        commit = hub.commit("datasets/org/data", "v1")
        names = ("org/data@v1", "org/model@main", "org/data@v2", "org/gated@main")
        (path, record), *errors = opened(hub, tmp_path / "cache", *names)
        assert record == {
            "repository": "org/data",
            "commit": commit,
            "files": {"data/test-00000-of-00001.parquet": {"sha256": hashlib.sha256(b"abc").hexdigest(), "bytes": 3}},
        }
        assert path.endswith(commit)
        assert hub.files_asked() == {"data/test-00000-of-00001.parquet"}
        told = [
            "org/model is no folder here, and",
            "org/data has no revision v2. Give a branch, a tag or a whole commit of " + hub.url + "/datasets/org/data",
            "org/gated@main is open to those alone",
        ]
        for (kind, text), part in zip(errors, told, strict=True):
            assert (kind, part in text) == ("HubError", True), text
        again = opened(hub, tmp_path / "cache", f"org/data@{commit}", "org/other@main", HF_HUB_OFFLINE="1")
        assert again[0] == [path, record]
        assert "hf download org/other --repo-type dataset --revision main" in again[1][1]
