"""What the README says is what happens: its Python prints what it says, and its commands run as they are written.

So do those of ``precision.md``, which follow from each other and take long.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from blocks import blocks
from click.testing import CliRunner
from commands import run_block, run_here
from made_up import write_requests
from servers import command_serving

from yoj.bench import read_results
from yoj.bench._readme import BEGIN, END, all_tables, ratios
from yoj.calibration._gate import REPORT, Gate
from yoj.calibration.cli import main
from yoj.export.quantisation.config import read_config
from yoj.runtime import Scorer
from yoj.runtime.bundle import Bundle

pytestmark = pytest.mark.export

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "golden" / "data"
BLOCKS = [(block.kind, block.text) for block in blocks(ROOT / "README.md")]


@pytest.fixture
def folder(tmp_path, bundle):
    """A folder with the files that the README's examples name."""
    shutil.copytree(bundle("merged", "assistant"), tmp_path / "judge.yoj")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    shutil.copytree(DATA / "checkpoint-merged", tmp_path / "merged")
    shutil.copytree(DATA / "checkpoint-adapter", tmp_path / "adapter")
    shutil.copytree(DATA / "checkpoint-adapter" / "base", tmp_path / "Molmo2-4B")
    return tmp_path


@pytest.fixture
def shipped(tmp_path, bundle):
    """A folder with a judge of drawings."""
    shutil.copytree(bundle("shapes", "assistant"), tmp_path / "judge.yoj")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    return tmp_path


def test_its_blocks_are_those_that_are_run_here():
    assert [kind for kind, _ in BLOCKS] == ["sh", "python", "text", "", "bash", "py"]


def test_the_first_scores_are_those_that_it_prints(shipped):
    """Numbers of another CPU may differ in their last digit."""
    code, said = (text for kind, text in BLOCKS if kind in ("python", "text"))
    done = subprocess.run([sys.executable, "-c", code], cwd=shipped, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    number = r"-?\d+\.\d+"
    assert re.sub(number, "#", done.stdout) == re.sub(number, "#", said)
    printed, shown = ([float(one) for one in re.findall(number, text)] for text in (done.stdout, said))
    assert printed == pytest.approx(shown, abs=2e-3)


def test_extras_that_are_installed_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for named in re.findall(r"'(?:yoj|\.)\[([a-z,-]+)\]'", page.read_text("utf-8")):
            assert set(named.split(",")) <= set(extras), f"{page.name}: {named}"


@pytest.mark.thorough
def test_the_first_export(tmp_path):
    """Its comparison with PyTorch takes most of its time."""
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    install, export = next(text for kind, text in BLOCKS if kind == "sh").splitlines()
    assert install.startswith("pip install ")
    done = run_here(*shlex.split(export), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "judge.yoj" / "manifest.json").exists()


def test_rewards_are_those_that_it_says(shipped):
    (code,) = (text for kind, text in BLOCKS if kind == "py")
    done = subprocess.run([sys.executable, "-c", code], cwd=shipped, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rewards, said = json.loads(done.stdout), json.loads(re.search(r"# about (\[.*?\])", code)[1])
    assert rewards == pytest.approx(said, abs=0.06)
    assert rewards[1] == rewards[3]


EXPORTS = blocks(ROOT / "docs" / "export.md")[0].text.splitlines()


def test_its_exports_are_those_of_the_page():
    assert set(next(text for kind, text in BLOCKS if not kind).splitlines()) <= set(EXPORTS)


@pytest.mark.parametrize("line", EXPORTS)
def test_command(line, folder):
    done = run_block(line.replace("--out judge.yoj", "--out new.yoj"), folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_server_gives_what_the_command_gives(shipped):
    (block,) = (text for kind, text in BLOCKS if kind == "bash")
    start, curl = block.replace("\\\n", " ").splitlines()
    assert start == "yoj-serve http judge.yoj &"
    with command_serving(shipped / "judge.yoj") as (child, base, _):
        line = curl.replace("localhost:8000", base)
        said = subprocess.run(line, shell=True, cwd=shipped, capture_output=True, text=True)
        child.terminate()
    judgement = json.loads(said.stdout)
    assert judgement["best"] == 1
    options = ["--image", "docs/images/scene.png", "--prompt", "Describe the bottom right."]
    options += ["--response", "a red circle", "--response", "a yellow triangle"]
    command = [sys.executable, "-m", "yoj.runtime", "judge.yoj", *options, "--json"]
    printed = json.loads(subprocess.run(command, cwd=shipped, capture_output=True, text=True).stdout)
    assert judgement | {"timings_ms": 0} == printed | {"timings_ms": 0}


@pytest.mark.thorough
def test_eight_bits(folder):
    """The lines follow from each other, so they run together."""
    (block,) = (one.text for one in blocks(ROOT / "docs" / "precision.md") if one.mark.startswith("run by"))
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
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    named = {target for page in pages for target in re.findall(r"`make ([\w-]+)", page.read_text("utf-8"))}
    assert {"demo", "test", "docs"} <= named
    assert [target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def between_markers(page: Path) -> str:
    return page.read_text("utf-8").split(BEGIN)[1].split(END)[0].strip()


def test_its_speeds_are_those_of_the_results():
    """``make bench-tables`` writes them: the whole depth here, all of it on the page of tables."""
    files = sorted((ROOT / "bench" / "results").glob("*/*.json"))
    deep = [(file.parent.name, read_results(file)) for file in files if file.stem == "deep"]
    every = [(file.parent.name, read_results(file)) for file in files if file.stem in ("deep", "wide")]
    assert all(judge.model.layers == 36 for _, results in deep for judge in results.judges)
    assert between_markers(ROOT / "README.md") == ratios(deep)
    assert between_markers(ROOT / "docs" / "benchmark-tables.md") == all_tables(every)


def test_its_three_figures_are_those_that_were_measured():
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    figures = json.loads((ROOT / "checkpoints" / "figures.json").read_text("utf-8"))
    judges = ("shapes-qwen3_vl", "shapes-molmo2")
    assert [figures[f"{judge} float32"]["agreement"] for judge in judges] == [1.0, 1.0]
    qwen, molmo = (f"{figures[f'{judge} int8']['agreement']:.2%}".replace("%", " %") for judge in judges)
    assert f"in 100 % of 2,000 held-out items, for both backbones; in `int8` in {qwen} and {molmo}" in text
    wide = read_results(ROOT / "bench" / "results" / "avx512-vnni" / "wide.json")
    first, second = (f"{next(one.engine for one in judge.savings if one.N == 8):.1f}" for judge in wide.judges)
    assert f"with eight answers {first} (Qwen3-VL) and {second} (Molmo2) times as fast as eight passes" in text
    times = [{one.name: one.time.median for one in judge.variants} for judge in wide.judges]
    shared = [of["PyTorch bfloat16, N passes over a shared prefix"] for of in times]
    full, eight = (
        [f"{passes / of[f'yoj {precision}, isolated']:.1f}" for passes, of in zip(shared, times, strict=True)]
        for precision in ("float32", "int8")
    )
    assert f"{full[0]} and {full[1]} times in float32, {eight[0]} and {eight[1]} times in `int8`" in text
    (higher,) = re.findall(r"in groups of 16 .* ends ([\d.]+ ± [\d.]+) higher in truth", text)
    assert f"| multi less single, N=16 | +{higher} |" in (ROOT / "docs" / "grpo.md").read_text("utf-8")
