"""The bench on tiny models: every variant agrees with PyTorch float32, and what disagrees is not ranked."""

from __future__ import annotations

import functools
import itertools
import math
import shutil

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tiers import with_variants
from tiny import RECORDED
from tiny_qwen3_vl import TinyQwen, write_qwen

from yoj.bench import _make as make_module
from yoj.bench import _measure as measure_module
from yoj.bench import _run as run_module
from yoj.bench import _timing as timing_module
from yoj.bench import _workbench as workbench_module
from yoj.bench._requests import Size, make_bench_request
from yoj.bench._results import MachineLimits, Peak, Results, read_results
from yoj.bench._shapes import SHAPES
from yoj.bench._timing import interval, time_in_turns
from yoj.bench._workbench import (
    Variant,
    all_variants,
    engines,
    fast_precisions,
    open_workbench,
    run_interleaved,
    trimmed,
)
from yoj.bench.cli import PARTS, main

pytestmark = [pytest.mark.export, pytest.mark.parity]

FAMILIES = ("molmo2", "qwen3_vl")
LIMITS = MachineLimits(peaks=(Peak(precision="float32", flops=1e12, by="made up"),), copied=1e9)


@pytest.fixture(autouse=True)
def _limits_that_are_made_up(monkeypatch):
    """Measuring them takes most of a minute; `test_limits.py` does it."""
    monkeypatch.setattr(run_module, "measure_limits", lambda _threads: LIMITS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """folder(family) -> a checkpoint with a bundle in float32 and one in int8, as ``yoj-bench make`` lays them out."""

    @functools.cache
    def make(family: str):
        place = tmp_path_factory.mktemp(family)

        def write(_like, checkpoint, _layers, _words, _narrowed):
            if family == "molmo2":
                return shutil.copytree(RECORDED, checkpoint)
            return write_qwen(TinyQwen(), checkpoint, hidden_state="post_norm")

        with pytest.MonkeyPatch.context() as patch:  # only the random weights of 4B width are left out
            patch.setattr(make_module, "write", write)
            make_module.make(place / "tiny", place, SHAPES["wide"], ("float32", "int8"))
        return place

    return make


@pytest.fixture(scope="module")
def bench(folder):
    """bench(family) -> a workbench, which sets the threads of PyTorch; other tests of this process keep theirs."""
    before = torch.get_num_threads()
    yield functools.cache(lambda family: open_workbench(folder(family), 2, "cpu", None))
    torch.set_num_threads(before)


@pytest.mark.parametrize("family", with_variants(FAMILIES))
@pytest.mark.parametrize("side", [0, 64])
def test_all_agree_and_each_way_asks_for_its_work(family, side, bench):
    opened = bench(family)
    case = make_bench_request(opened.scorer, Size(prompt=300, response=20, n=3, side=side), 2)
    variants = [
        variant for variant in all_variants(opened, ["bfloat16", "float32"]) if not variant.name.endswith("compiled")
    ]
    found = {c.name: c for c in run_interleaved(opened, case, variants, 1, LIMITS)}
    assert len(found) == len(variants) == 11
    assert {name: c.difference for name, c in found.items() if not c.agrees} == {}
    assert found["PyTorch float32, trimmed"].difference == 0
    assert 0 < found["yoj float32"].difference <= 1e-5
    assert found["PyTorch float32, as the YOJO code runs it"].work > found["PyTorch float32, trimmed"].work
    assert found["PyTorch bfloat16, N passes"].work > 1.5 * found["PyTorch bfloat16, trimmed"].work
    assert found["yoj float32, isolated"].work == found["PyTorch bfloat16, N passes over a shared prefix"].work
    assert all(c.share is not None and c.share > 0 for c in found.values() if c.precision == "float32")
    assert all(c.share is None for c in found.values() if c.precision != "float32")


@pytest.mark.thorough
def test_compiled_models_are_variants(bench):
    opened = bench("molmo2")
    case = make_bench_request(opened.scorer, Size(prompt=60, response=10, n=2), 2)
    (variant,) = [
        variant for variant in all_variants(opened, ["float32"]) if variant.name == "PyTorch float32, compiled"
    ]
    (found,) = run_interleaved(opened, case, [variant], 1, None)
    assert found.agrees


def test_pytorch_runs_in_all_its_ways_only_where_it_is_fast(bench):
    opened = bench("molmo2")
    names = {variant.name for variant in all_variants(opened, ["float32"]) if variant.vendor == "PyTorch"}
    ways = ("as the YOJO code runs it", "trimmed", "compiled", "N passes", "N rows", "N passes over a shared prefix")
    assert names == {"PyTorch bfloat16, trimmed", *(f"PyTorch float32, {way}" for way in ways)}
    case = make_bench_request(opened.scorer, Size(prompt=60, response=10, n=2), 2)
    assert set(fast_precisions(opened, case)) <= {"float32", "bfloat16"}


def test_a_slow_precision_of_pytorch_is_left_out(bench, monkeypatch):
    opened = bench("molmo2")
    case = make_bench_request(opened.scorer, Size(prompt=60, response=10, n=2), 2)

    def took(calls, _repeats):
        return {name: interval([{"float32": 10.0, "bfloat16": 21.0}[name]]) for name in calls}

    monkeypatch.setattr(workbench_module, "time_in_turns", took)
    assert fast_precisions(opened, case) == ["float32"]


def test_wrong_scores_are_marked_and_failures_are_left_out(bench, capsys):
    opened = bench("molmo2")
    case = make_bench_request(opened.scorer, Size(prompt=60, response=10, n=2), 2)
    right = trimmed(opened, "float32").prepare(case)()

    def fail(_case):
        raise RuntimeError("no such kernel")

    variants = [
        Variant("off", "PyTorch", "float32", "packed", lambda _: lambda: right + 0.01 * max(1.0, np.abs(right).max())),
        Variant("none", "PyTorch", "float32", "packed", lambda _: lambda: right * np.float32(np.nan)),
        Variant("broken", "PyTorch", "float32", "packed", fail),
    ]
    found = run_interleaved(opened, case, variants, 1, None)
    assert [(c.name, c.agrees) for c in found] == [("off", False), ("none", False)]
    assert found[0].difference == pytest.approx(0.01, rel=0.01)
    assert math.isfinite(found[1].difference)
    assert "no such kernel" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_scores_that_have_nothing_to_do_with_the_model_are_marked(precision, bench):
    opened = bench("molmo2")
    case = make_bench_request(opened.scorer, Size(prompt=60, response=10, n=4), 2)
    right = trimmed(opened, "float32").prepare(case)()
    opposite = right - 1.2 * np.sign(right) * max(1.0, np.abs(right).max())
    for wrong in (opposite, opposite[:, ::-1]):
        (found,) = run_interleaved(
            opened, case, [Variant("", "yoj", precision, "packed", lambda _, w=wrong: lambda: w)], 1, None
        )
        assert not found.agrees


def test_a_bundle_of_another_checkpoint_is_refused(folder, bundle, tmp_path):
    shutil.copytree(folder("molmo2"), tmp_path / "mixed")
    for made in (tmp_path / "mixed").glob("*.yoj"):
        shutil.rmtree(made)
    shutil.copytree(bundle("qwen3_vl", "assistant"), tmp_path / "mixed" / "other.yoj")
    done = CliRunner().invoke(main, ["run", str(tmp_path / "mixed"), "--threads", "1"])
    assert done.exit_code == 1
    assert "other.yoj was not made from" in " ".join(done.output.split())


def test_features_are_computed_in_every_run(bench, monkeypatch):
    opened = bench("molmo2")
    case = make_bench_request(opened.scorer, Size(prompt=300, response=10, n=2, side=64), 2)
    roles, session = [], opened.scorer._session
    monkeypatch.setattr(
        session, "run", lambda role, inputs, run=session.run: (roles.append(role), run(role, inputs))[1]
    )
    call = engines(opened, opened.scorer.engine.precision)[0].prepare(case)
    call(), call()
    assert roles == ["vision", "scorer.joint"] * 2


@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_a_case_has_the_size_that_was_asked_for(family, bench):
    scorer = bench(family).scorer
    shape = make_bench_request(scorer, Size(prompt=400, response=40, n=5, batch=2), 1).shape
    assert (shape.B, shape.N, shape.V, shape.threads) == (2, 5, 0, 1)
    assert abs(shape.P - 400) <= 8
    assert abs(shape.R - 40) <= 3
    assert pytest.approx(shape.P + shape.N * shape.R, abs=shape.N) == shape.L


@pytest.mark.parametrize("family", with_variants(FAMILIES))
def test_a_run_from_the_command_line(family, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(measure_module, "SWEPT", {"N": (1, 2), "image side": (0, 32), "batch": (2,)})
    monkeypatch.setattr(measure_module, "SAVED_N", (2,))
    monkeypatch.setattr(measure_module, "LOAD_REQUESTS", 4)
    monkeypatch.setattr(
        measure_module, "all_variants", lambda bench, _: [trimmed(bench, "float32"), *engines(bench, "int8")]
    )
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # other tests of this process keep theirs
    out, html = tmp_path / "results" / "r.json", tmp_path / "r.html"
    words = ["run", str(folder(family)), "--out", str(out), "--html", str(html), "--repeats", "1", "--threads", "1"]
    words += ["--prompt-tokens", "80", "--response-tokens", "12", "--n", "2"]
    done = CliRunner().invoke(main, [*words, *(word for part in PARTS for word in ("--part", part))])
    assert done.exit_code == 0, done.output
    last = msgspec.json.decode(done.stdout.splitlines()[-1], type=Results)
    assert last == read_results(out)
    (judge,) = last.judges
    assert (judge.model.family, judge.model.layers, judge.shape.N) == (family, 2, 2)
    assert {sweep.name for sweep in judge.sweeps} == {"N", "image side", "batch", "threads"}
    assert {start.precision for start in judge.starts} == {"float32", "int8"}
    assert {profile.variant for profile in judge.profiles} == {load.variant for load in judge.load}
    assert all(value >= 0 for of in judge.phases.values() for value in of.values())
    assert all(point.agrees for sweep in judge.sweeps for point in sweep.points)
    assert html.read_text("utf-8").count("<svg") >= 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "."], "must hold the folder checkpoint and bundles *.yoj"),
        (["run", "{folder}", "--prompt-tokens", "3"], "has no room"),
        (["run", "{folder}", "--threads", "4096"], "is not in the range"),
        (["make", "{folder}", "{folder}"], "exists. Choose another FOLDER"),
        (["report", "{folder}/checkpoint/config.json"], "Say what to write"),
        (["report", "{folder}/checkpoint/config.json", "--html", "x"], "holds no results"),
    ],
)
def test_bad_input_says_what_to_do(words, said, folder, tmp_path, monkeypatch):
    place = folder("molmo2")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, [word.format(folder=place) for word in words])
    assert done.exit_code in (1, 2)
    assert said in " ".join(done.output.split())
    assert not done.stdout.strip().startswith("{")


def test_comparing_a_run_with_itself_finds_nothing_worse(folder, tmp_path):
    out = tmp_path / "r.json"
    words = ["run", str(folder("molmo2")), "--out", str(out), "--part", "phases", "--threads", "1", "--n", "2"]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert CliRunner().invoke(main, ["compare", str(out), str(out)]).exit_code == 0


@pytest.mark.parametrize(("n", "low", "high"), [(1, 1, 1), (5, 1, 5), (6, 1, 6), (8, 1, 8), (9, 2, 8), (20, 6, 15)])
def test_intervals_are_those_of_the_binomial_distribution(n, low, high):
    # Ranks of the 95 % interval of a median, as in tables of nonparametric statistics.
    found = interval([float(value) for value in range(n, 0, -1)])
    assert (found.low, found.high, found.runs) == (low, high, n)
    assert found.median == (n + 1) / 2


def test_each_runs_once_a_turn_in_changing_order():
    said: list[str] = []
    clock = itertools.count().__next__  # a call that is slow by far would be left out of later turns
    times = time_in_turns({name: (lambda name=name: said.append(name)) for name in "abc"}, 8, clock)
    turns = [tuple(said[k : k + 3]) for k in range(0, 24, 3)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert len(set(turns)) > 1
    assert {time.runs for time in times.values()} == {8}


def test_what_is_slow_by_far_runs_in_the_first_turn_only(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing_module.time, "perf_counter", lambda: now[0])

    def taking(seconds):
        def call():
            now[0] += seconds

        return call

    times = time_in_turns({"quick": taking(1.0), "usual": taking(5.0), "slow": taking(5.1)}, 4)
    assert {name: time.runs for name, time in times.items()} == {"quick": 4, "usual": 4, "slow": 1}
    assert times["slow"].median == pytest.approx(5100)
