"""Checkpoints and bundles by their hub id, from a server on this machine that speaks the hub's API."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from hub_server import Hub, serve

from yoj.bench.cli import main as bench
from yoj.calibration.cli import main as calibrate
from yoj.export.cli import main as export
from yoj.runtime.errors import HubError
from yoj.runtime.hub import dataset_folder, is_hub_id, local_folder, origin
from yoj.runtime.manifest import decode
from yoj.runtime.options import HubFolder

DATA = Path(__file__).parents[1]
BUNDLE = DATA / "data" / "bundles" / "qwen3_vl-0.1"
RECORDED = DATA / "data" / "bundles" / "qwen3_vl-0.1.scores.json"
ADAPTER = DATA / "golden" / "data" / "checkpoint-adapter"
STRANGE = ("modeling_judge.py", "optimizer.pt", "training_args.bin", "pytorch_model.bin", "rng_state.pth", "notes.txt")
"""What repositories hold besides, and yoj does not read."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """``org/judge``, a bundle with plans; ``org/adapter`` and its base ``org/base``; ``org/gated``, closed."""
    place = tmp_path_factory.mktemp("hub")
    adapter = shutil.copytree(ADAPTER, place / "adapter")
    shutil.move(adapter / "base", place / "base")
    settings = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    (adapter / "adapter_config.json").write_text(
        json.dumps(settings | {"base_model_name_or_path": "org/base"}), "utf-8"
    )
    bundle = shutil.copytree(BUNDLE, place / "bundle")
    for folder in (adapter, place / "base", bundle):
        for name in STRANGE:
            (folder / name).write_text("raise SystemExit('this was run')", "utf-8")
    repos = {"org/judge": {"v1": bundle}, "org/adapter": {"main": adapter}, "org/base": {"main": place / "base"}}
    with serve(Hub(repos | {"org/gated": {"main": bundle}}, {"org/gated"})) as server:
        yield server


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def python(hub: Hub, cache: Path, code: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process whose hub is the server: huggingface_hub reads its variables once, when it is imported."""
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_PROGRESS_BARS": "1"} | more
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))}
    return subprocess.run([sys.executable, "-c", code, *words], env=kept | variables, capture_output=True, text=True)


def score(hub: Hub, cache: Path, judge: str, **more: str) -> subprocess.CompletedProcess[str]:
    words = ["--prompt", "Name a prime above 10.", "--json"]
    for response in json.loads(RECORDED.read_text("utf-8"))[1]["responses"]:
        words += ["--response", response]
    return python(hub, cache, "from yoj.runtime.cli import main; main()", judge, *words, **more)


@pytest.mark.slow
def test_a_bundle_is_downloaded_and_scores_as_recorded(hub, cache):
    hub.asked.clear()
    done = score(hub, cache, "org/judge@v1")
    assert done.returncode == 0, done.stderr
    judgement, recorded = json.loads(done.stdout), json.loads(RECORDED.read_text("utf-8"))[1]
    np.testing.assert_allclose(judgement["scores"], recorded["scores"], rtol=0, atol=1e-5)
    commit = hub.commit("org/judge", "v1")
    assert judgement["provenance"]["hub"] == f"org/judge@{commit}"
    listed = decode((BUNDLE / "manifest.json").read_bytes(), "").files.keys()
    assert hub.files_asked() == listed | {"manifest.json"}

    again = score(hub, cache, f"org/judge@{commit}", HF_HUB_OFFLINE="1")
    assert json.loads(again.stdout)["scores"] == judgement["scores"]


CODE = """
import json, sys
from yoj.runtime.hub import local_folder
said = []
for name in sys.argv[2:]:
    try:
        local_folder(name, sys.argv[1])
    except Exception as error:
        said.append([type(error).__name__, str(error)])
print(json.dumps(said))
"""


def errors(hub: Hub, cache: Path, kind: str, *names: str, **more: str) -> list[list[str]]:
    done = python(hub, cache, CODE, kind, *names, **more)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(names)
    return found


@pytest.mark.slow
def test_what_cannot_be_had_is_one_line_with_the_way_out(hub, cache):
    expected = {
        "org/nothing@main": ("org/nothing is no folder here", "no such repository", "hf auth login"),
        "org/judge": ("org/judge is no folder here", "say which revision: org/judge@main"),
        "org/judge@v9": ("org/judge has no revision v9", "Give a branch, a tag or a whole commit"),
        "org/gated@main": ("org/gated@main is open to those alone", "HF_TOKEN"),
        "org/adapter@main": ("org/adapter@main holds no manifest.json", "yoj-export org/adapter@main"),
    }
    for (kind, text), parts in zip(errors(hub, cache, "bundle", *expected), expected.values(), strict=True):
        assert kind == "HubError"
        assert "\n" not in text
        for part in parts:
            assert part in text


@pytest.mark.slow
def test_offline_and_without_a_network_the_way_out_is_said(hub, cache):
    ((kind, text),) = errors(hub, cache, "bundle", "org/judge@v1", HF_HUB_OFFLINE="1")
    assert (kind, "offline mode is on (HF_HUB_OFFLINE)" in text) == ("HubError", True)
    ((kind, text),) = errors(hub, cache, "checkpoint", "org/adapter@main", HF_ENDPOINT="http://127.0.0.1:9")
    assert kind == "HubError"
    assert "hf download org/adapter --revision main --local-dir FOLDER" in text


@pytest.mark.slow
def test_a_command_says_it_as_a_wrong_argument(hub, cache):
    done = score(hub, cache, "org/nothing@v1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Error: org/nothing is no folder here" in done.stderr
    assert "Traceback" not in done.stderr


EXPORT = "from yoj.export.cli import main; main()"


@pytest.mark.thorough
@pytest.mark.export
@pytest.mark.slow
def test_an_adapter_and_its_base_are_exported_and_recorded(hub, cache, tmp_path):
    hub.asked.clear()
    out = tmp_path / "judge.yoj"
    words = ["org/adapter@main", "--base", "org/base@main", "--layout", "assistant", "--no-compare", "--out", str(out)]
    done = python(hub, cache, EXPORT, *words)
    assert done.returncode == 0, done.stderr
    provenance = decode((out / "manifest.json").read_bytes(), "").provenance
    commits = {repo: hub.commit(repo, "main") for repo in ("org/adapter", "org/base")}
    assert provenance.hub == tuple(f"{repo}@{commit}" for repo, commit in commits.items())
    for commit in commits.values():  # each has its own tokenizer.json, though both are links into one cache
        assert f"{commit}/tokenizer.json" in provenance.checkpoint
    assert not hub.files_asked() & set(STRANGE)
    assert {"adapter_model.safetensors", "value_head.pt", "model.safetensors"} <= hub.files_asked()


@pytest.mark.slow
def test_a_base_that_only_the_adapter_names_is_not_downloaded(hub, cache, tmp_path):
    hub.asked.clear()
    done = python(hub, cache, EXPORT, "org/adapter@main", "--layout", "assistant", "--out", str(tmp_path / "judge.yoj"))
    assert done.returncode == 1
    assert "'org/base', which is no folder here" in done.stderr
    assert "--base ORG/NAME@REVISION" in done.stderr
    assert not any("org/base" in path for path in hub.asked)


RECIPE = """
import sys
from pathlib import Path
from yoj.training._recipe import read_recipe
print(read_recipe(Path(sys.argv[1])).base)
"""


@pytest.mark.slow
def test_the_base_of_a_recipe_may_be_a_hub_id(hub, cache, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("base: org/base@main\ndata: train.jsonl\nout: run\nlayout: assistant\n", "utf-8")
    done = python(hub, cache, RECIPE, str(recipe))
    assert done.returncode == 0, done.stderr
    base = Path(done.stdout.strip())
    assert origin(base) == f"org/base@{hub.commit('org/base', 'main')}"
    assert (base / "config.json").read_bytes() == (ADAPTER / "base" / "config.json").read_bytes()


DATA_SETS = """
import sys
from yoj.runtime.hub import dataset_folder
try:
    dataset_folder("org/votes@main", ["*.parquet"])
except Exception as error:
    print(error)
print(dataset_folder("org/votes@main", ["data/*.jsonl"]))
"""


@pytest.mark.slow
def test_of_a_data_set_the_files_that_match_are_downloaded(cache, tmp_path):
    (tmp_path / "votes" / "data").mkdir(parents=True)
    for name in ("data/votes.jsonl", "data/notes.txt"):
        (tmp_path / "votes" / name).write_text("{}", "utf-8")
    with serve(Hub({"datasets/org/votes": {"main": tmp_path / "votes"}})) as hub:
        done = python(hub, cache, DATA_SETS)
        assert done.returncode == 0, done.stderr
        error, folder = done.stdout.splitlines()
        assert [file.name for file in Path(folder).rglob("*") if file.is_file()] == ["votes.jsonl"]
        assert origin(Path(folder)) == f"org/votes@{hub.commit('datasets/org/votes', 'main')}"
        assert f"org/votes@main holds no file that matches *.parquet. Check the name: {hub.url}/datasets/org" in error


def test_what_exists_as_a_path_is_that_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "judge@v1").mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert local_folder("org/judge@v1", "bundle") == Path("org/judge@v1")
    assert dataset_folder("org/judge@v1", ["*"]) == Path("org/judge@v1")


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match=r"org/judge@v1 is no folder here.*pip install 'yoj\[hub\]'"):
        local_folder("org/judge@v1", "bundle")


@pytest.mark.parametrize(
    "name", ["judge.yoj", "/no/judge", "./org/judge", "a/b/c", "org/judge@", "org/judge@v 1", "org/"]
)
def test_what_has_not_the_form_of_an_id_is_a_path(name):
    assert not is_hub_id(name)
    assert local_folder(name, "bundle") == Path(name)


@pytest.mark.parametrize("name", ["org/judge", "org/judge@main", "Org-1/judge_2.5@refs/pr/3", f"org/judge@{'0a' * 20}"])
def test_what_has_the_form_of_an_id_is_one(name):
    assert is_hub_id(name)


def test_only_a_folder_of_the_cache_has_an_origin(tmp_path):
    commit = "0123456789abcdef" * 2 + "01234567"
    assert origin(tmp_path / "models--org--my--judge" / "snapshots" / commit) == f"org/my--judge@{commit}"
    assert origin(tmp_path / "datasets--org--data" / "snapshots" / commit) == f"org/data@{commit}"
    assert origin(tmp_path / "spaces--org--judge" / "snapshots" / commit) is None
    assert origin(tmp_path / "models--org--judge" / "snapshots" / "main") is None
    assert origin(tmp_path) is None
    assert origin(Path("/")) is None


TAKES = {
    (export, "build"): {"checkpoints": True, "base": True},
    (export, "inspect"): {"bundle": True},
    (export, "verify"): {"bundle": True, "checkpoints": True, "base": True},
    (export, "compile"): {"bundle": False},
    (calibrate, "statistics"): {"checkpoints": True, "base": True},
    (calibrate, "quantisation"): {"checkpoints": True, "base": True},
    (calibrate, "gate"): {"bundle": False, "against": True},
    (calibrate, "probabilities"): {"bundle": False},
    (bench, "make"): {"judge": True},
}
"""Parameters of commands -> whether they take a hub id; those that do not are bundles that the command writes into."""


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name"), TAKES)
def test_every_command_takes_hub_ids_for_what_it_reads(group, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    parameters = {parameter.name: parameter for parameter in group.commands[name].params}
    for parameter, takes in TAKES[group, name].items():
        kind = parameters[parameter].type
        assert isinstance(kind, HubFolder)
        with pytest.raises(click.BadParameter) as caught:
            kind.convert("org/judge@v1", parameters[parameter], None)
        assert ("pip install 'yoj[hub]'" if takes else "--local-dir FOLDER") in str(caught.value)
