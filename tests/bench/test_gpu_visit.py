"""``make gpu`` as far as it goes without a GPU: real parts, on the CPU where they score."""

from __future__ import annotations

import importlib
import itertools
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from recorded import MERGED
from tiers import with_variants

from yoj.bench._gpu import Result, VisitPaths, code_hash, exit_status, make_bundles, table, visit
from yoj.bench._gpu_parts import FLOATS, JUDGES, MADE, PARTS, SECONDS, GpuPart, Made
from yoj.bench._needs import NEEDS, missing
from yoj.export.quantisation.config import RANGE, read_config
from yoj.export.tensorrt.graphs import FIRST_TARGET
from yoj.runtime.bundle import Bundle
from yoj.runtime.schemes import SCHEMES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path, bundle) -> VisitPaths:
    """A folder ``tiny`` with a checkpoint and its float32 bundle."""
    tiny = tmp_path / "bundles" / "code" / "tiny"
    tiny.mkdir(parents=True)
    (tiny / "checkpoint").symlink_to(MERGED)
    (tiny / "float32.yoj").symlink_to(bundle("merged", "assistant"))
    return VisitPaths(tmp_path / "results", tiny.parent, "code")


def runs(process: int) -> bool:
    """Not so of one that has ended and that nobody has asked about yet."""
    try:
        return " (sleep) Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def part(name: str, *commands: str, seconds: int = 100, needs: tuple[str, ...] = ()) -> GpuPart:
    return GpuPart(name, needs, commands, seconds)


def test_the_parts_fill_ten_minutes_and_reach_every_engine_precision_and_judge():
    assert sum(part.seconds for part in PARTS) == SECONDS == 600
    assert len({part.name for part in PARTS}) == len(PARTS)
    assert {need for part in PARTS for need in part.needs} == set(NEEDS)
    compared = set()
    for words in (shlex.split(part.commands[0]) for part in PARTS if part.name.startswith("parity")):
        assert [f"{{bundles}}/{judge}" for judge in JUDGES] == words[3:5]
        precisions = [after for word, after in itertools.pairwise(words) if word == "--precision"]
        compared |= {(words[words.index("--engine") + 1], precision) for precision in precisions}
    assert compared == {
        (engine, precision)
        for engine, schemes in (
            ("onnxruntime-cuda", SCHEMES),
            ("tensorrt", FIRST_TARGET),
            ("tensorrt-rtx", FIRST_TARGET),
        )
        for precision in (*FLOATS, *schemes)
    }


def test_commands_give_options_that_there_are_and_read_bundles_that_are_made():
    made = {f"{{bundles}}/{one.folder}" for one in MADE}
    commands = [command for part in PARTS for command in part.commands]
    for words in map(shlex.split, [*commands, *(shlex.join(one.command("{bundles}")) for one in MADE)]):
        for word in words:
            if word.startswith("{bundles}"):
                assert word.removesuffix("/bfloat16.yoj") in made
        if words[1] != "pytest":
            command = importlib.import_module(words[1]).main
            command = getattr(command, "commands", {}).get(words[2], command)
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words[2:] if word.startswith("--")} <= known
    assert all((ROOT / "checkpoints" / one.judge).is_dir() for one in MADE)


@pytest.mark.thorough
@pytest.mark.export
@pytest.mark.slow
def test_each_part_stands_alone_and_only_those_without_a_result_run_again(place):
    """One that fails, one that hangs with a child of its own, and real measurements on the CPU."""
    parity = "-m yoj.bench.cli parity {bundles}/tiny --engine onnxruntime --out {out}/parity.json"
    parity += " --precision float32 --precision float16"
    latency = "-m yoj.bench.cli latency {bundles}/tiny/float32.yoj --shape 640x4 --repeats 2 --out {out}/latency.json"
    child = "import subprocess; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); child.wait()"
    hang = shlex.join(["-c", child])
    parts = [
        part("fails", "-c 'raise SystemExit(\"this is why\")'", "-c 'print(\"never reached\")'", seconds=60),
        part("parity", parity, seconds=250),
        part("latency", latency, seconds=0),
    ]
    done = visit(parts, [], place, {"gpu": "none"})
    assert [result.outcome for result in done] == ["failed", "failed", "passed"], done
    assert done[0].reason == "this is why"
    row, other = done[1].figures["parity.json"]
    assert row["passed"]
    assert "float16.yoj is not a bundle" in other["error"]
    assert 0 < row["max_abs_diff"] <= row["bound"] == 1e-5
    assert done[2].figures["latency.json"]["requests"]["640x4"]["median_ms"] > 0
    assert done[2].limit > 0  # what the others left
    (hung,) = visit([part("hangs", hang, seconds=8)], [], place, {"gpu": "none"})
    assert hung.outcome == "timed out"
    assert hung.seconds < 40
    assert exit_status([*done, hung]) == 1
    assert not runs(int((place.results / "hangs.log").read_text().splitlines()[1]))

    stamps = {file: file.stat().st_mtime_ns for file in place.results.glob("*.json")}
    assert len(stamps) == 4
    assert visit(parts, [], place, {"gpu": "none"}) == done
    assert stamps == {file: file.stat().st_mtime_ns for file in place.results.glob("*.json")}
    (again,) = visit(parts[:1], [], place, {"gpu": "none"}, again=True)
    assert again.outcome == "failed"
    other = VisitPaths(place.results, place.bundles, "other code")
    assert other.known(parts[1]) is None


def test_where_there_is_no_gpu_every_part_says_so_and_nothing_is_made(place):
    if missing("onnxruntime-cuda") is None:
        pytest.skip("there is a GPU here")
    done = visit(PARTS, MADE, place, {})
    assert {result.outcome for result in done} == {"skipped"}
    assert all(result.reason for result in done)
    assert exit_status(done) == 2
    assert f"{len(PARTS)} skipped" in table(done)
    assert not place.results.exists()


@pytest.mark.thorough
def test_tests_that_are_all_skipped_have_not_passed(place):
    if missing("onnxruntime-cuda") is None:
        pytest.skip("there is a GPU here")
    command = next(part for part in PARTS if part.name == "tests onnxruntime-cuda").commands
    (done,) = visit([part("tests", *command)], [], place, {})
    assert done.outcome == "skipped"
    assert done.figures["tests.xml"] == {"tests": 1, "failures": 0, "errors": 0, "skipped": 1}


@pytest.mark.export
@pytest.mark.slow
@pytest.mark.parametrize("precision", with_variants(["float32", "int8_static"]))
def test_bundles_are_made_at_once_where_they_are_missing_and_a_failure_is_said(precision, tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "tiny").symlink_to(MERGED)
    place = VisitPaths(tmp_path / "results", tmp_path / "bundles" / "new", "new", tmp_path)
    (tmp_path / "bundles" / "old").mkdir(parents=True)
    place.results.mkdir()
    made = [Made("tiny", "tiny", (precision,)), Made("none", "none", ("float32",))]
    make_bundles(made, place)
    said = capsys.readouterr().out
    assert "none float32: FAILED" in said
    assert "set-up took" in said
    engine = Bundle.open(place.bundles / "tiny" / f"{precision}.yoj").manifest.engines[0]
    assert (engine.precision, engine.arithmetic) == (precision, "float16" if precision == "int8_static" else precision)
    if precision == "int8_static":
        config = read_config(place.bundles / "tiny" / "int8_static.quantisation")
        assert {RANGE + name for name in config.spec.layers} == config.factors.keys()
        assert all(float(value) > 0 for value in config.factors.values())
    assert not (tmp_path / "bundles" / "old").exists()
    make_bundles(made[:1], place)
    assert capsys.readouterr().out == ""


def test_the_hash_follows_the_code_and_not_the_results(tmp_path):
    for folder in ("export", "bench/yoj", "bench/results"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file.py").write_text("1")
    before = code_hash(tmp_path)
    (tmp_path / "bench/results/file.py").write_text("2")
    assert code_hash(tmp_path) == before
    (tmp_path / "export/file.py").write_text("2")
    assert code_hash(tmp_path) != before


@pytest.mark.slow
def test_the_command_runs_here_and_its_status_says_that_nothing_ran():
    if missing("onnxruntime-cuda") is None:
        pytest.skip("there is a GPU here")
    words = [sys.executable, "-m", "yoj.bench.cli", "gpu", "--part", "tests tensorrt"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=os.environ)
    assert done.returncode == 2
    assert "| tests tensorrt | 0.0 | 45 | skipped: There is no NVIDIA driver" in done.stdout


def test_the_table_keeps_its_columns():
    row = table([Result("a", "failed", 1.0, 2.0, "x | y. Do z.")]).splitlines()[2]
    assert row == "| a | 1.0 | 2 | failed: x \\| y |"


def test_the_table_of_the_documentation_is_that_of_the_code():
    text = (ROOT / "docs" / "gpu.md").read_text("utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert [(row[0], int(row[-1])) for row in rows] == [(part.name, part.seconds) for part in PARTS]
