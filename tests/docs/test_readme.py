"""What the README says is what happens: its Python runs, and its commands run as they are written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from commands import run_block
from made_up import write_requests
from servers import command_serving

from yoj.calibration._gate import REPORT, Gate
from yoj.calibration.cli import main
from yoj.export.quantisation.config import read_config
from yoj.runtime import Scorer
from yoj.runtime.bundle import Bundle

pytestmark = pytest.mark.export

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "golden" / "data"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path, bundle):
    """A folder with the files that the README's examples name."""
    shutil.copytree(bundle("merged", "assistant"), tmp_path / "judge.yoj")
    shutil.copy(DATA / "images" / "landscape_shapes.png", tmp_path / "photo.jpg")
    shutil.copy(DATA / "images" / "odd_small.png", tmp_path / "other.jpg")
    shutil.copytree(DATA / "images" / "frames_ball", tmp_path / "frames")
    shutil.copytree(DATA / "checkpoint-merged", tmp_path / "merged")
    shutil.copytree(DATA / "checkpoint-adapter", tmp_path / "adapter")
    shutil.copytree(DATA / "checkpoint-adapter" / "base", tmp_path / "Molmo2-4B")
    (tmp_path / "requests.jsonl").write_text(next(text for kind, text in BLOCKS if kind == "json"), "utf-8")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.jsonl").write_text('{"prompt": "What barks?", "responses": ["A cat.", "A dog."]}\n')
    return tmp_path


@pytest.mark.parametrize("code", [text for kind, text in BLOCKS if kind == "python"])
def test_python(code, folder):
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "P(best)" in done.stdout


def test_rewards(folder):
    (code,) = (text for kind, text in BLOCKS if kind == "py")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rewards = json.loads(done.stdout)
    assert len(rewards) == 4
    assert rewards[0] == rewards[2]
    assert sum(rewards) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "line", [line for kind, text in BLOCKS if not kind for line in text.splitlines() if "yoj-" in line]
)
def test_command(line, folder):
    words = line.replace("--out judge.yoj", "--out new.yoj")
    if words.startswith("yoj-export"):
        done = run_block(words, folder)
    else:
        words = f"PATH={Path(sys.executable).parent}:$PATH {words}"
        done = subprocess.run(words, shell=True, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_server_gives_what_the_command_gives(folder):
    """The first ``curl`` has the request of the first ``yoj-score`` of the README."""
    (block,) = (text for kind, text in BLOCKS if kind == "bash")
    start, *curls = block.replace("\\\n", " ").splitlines()
    assert start == "yoj-serve http judge.yoj &"
    with command_serving(folder / "judge.yoj") as (child, base, _):
        said = [
            subprocess.run(line.replace("localhost:8000", base), shell=True, cwd=folder, capture_output=True, text=True)
            for line in curls
        ]
        child.terminate()
    judgement, ranked = (json.loads(one.stdout) for one in said)
    options = ["--image", "photo.jpg", "--prompt", "What is shown?", "--response", "A cat.", "--response", "A red bus."]
    command = [sys.executable, "-m", "yoj.runtime", "judge.yoj", *options, "--json"]
    printed = json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout)
    assert judgement | {"timings_ms": 0} == printed | {"timings_ms": 0}
    assert {one["index"] for one in ranked["results"]} == {0, 1}


@pytest.mark.thorough
def test_eight_bits(folder):
    """The lines follow from each other, so they run together."""
    (block,) = (text for kind, text in BLOCKS if kind == "sh" and "yoj-calibrate" in text)
    for name, count, seed in (("train", 64, 1), ("choose", 60, 2), ("test", 60, 3)):
        write_requests(folder / f"{name}.jsonl", count, seed)
    done = run_block(block, folder)
    assert done.returncode == 0, done.stderr
    assert "warning: 64 samples" in done.stderr
    assert read_config(folder / "quantisation").spec.about["max_flips"] == 0.005
    assert (folder / "quantisation" / "sensitivity.svg").read_bytes().startswith(b"<?xml")
    opened = Bundle.open(folder / "int8.yoj")
    report = REPORT.format(engine="onnxruntime")
    assert report in opened.manifest.files
    gate = msgspec.json.decode((opened.path / report).read_bytes(), type=Gate)
    assert (gate.engine, gate.precision, gate.requests, gate.max_flips) == ("onnxruntime", "int8", 60, 0.02)
    assert gate.accuracy is not None
    assert gate.speedup > 0
    assert len(Scorer.load(opened.path).score("Which?", ["one", "two"]).scores) == 2
    before = (opened.path / "manifest.json").read_bytes()
    one = [json.dumps({"prompt": f"Which {number}?", "responses": ["one"]}) for number in range(60)]
    (folder / "single.jsonl").write_text("\n".join(one), "utf-8")
    for words, said in (
        (["judge.yoj", "choose.jsonl"], "was made with 60 of its 60 requests"),
        (["judge.yoj", "train.jsonl"], "was made with 64 of its 64 requests"),
        (["judge.yoj", "single.jsonl"], "no request has two responses"),
        (["int8.yoj", "test.jsonl"], "is quantised itself"),
    ):
        refused = CliRunner().invoke(main, ["gate", *(str(folder / name) for name in ("int8.yoj", *words))])
        assert refused.exit_code == 1
        assert said in refused.output
    assert (opened.path / "manifest.json").read_bytes() == before


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"make (\w+)", (ROOT / "README.md").read_text("utf-8"))
    assert {"demo", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
