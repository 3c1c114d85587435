"""Runs of several processes, over gloo, against runs of one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from click.testing import CliRunner
from safetensors.torch import load_file
from tiers import with_variants
from tiny_edits import DIMENSIONS
from tiny_edits import edits as made_edits

from experiments.shapes import ShapesConfig, write_items
from experiments.small import write_base
from yoj.training.cli import PRESETS, main

pytestmark = pytest.mark.slow
RECIPE = {
    "base": "base",
    "data": "train.jsonl",
    "held_out": "held_out.jsonl",
    "head": {"hidden": 16, "init_std": 0.3},
    "lora": {"rank": 4, "dropout": 0.0},
    "optimiser": {"learning_rate": 1e-3, "schedule": "constant"},
    "max_steps": 3,
    "precision": "float32",
    "base_precision": "float32",
    "workers": 0,
    "save_every": 1,
    "log_every": 1,
}
LAUNCH = {
    "ddp": ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"),
    "fsdp": (
        *("-m", "accelerate.commands.launch", "--config_file", str(PRESETS / "fsdp.yaml"), "--num_processes", "2"),
        *("--main_process_port", "0"),
    ),
}


EDITS = {
    "objective": "joint",
    "trainable": "all",
    "head": {"hidden": 16, "init_std": 0.3, "dimensions": list(DIMENSIONS)},
    "max_steps": 1,
    "epochs": 9,
}


@pytest.fixture(scope="module")
def edits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Edits to train on, of which every other has no rationale, others held out, and a base model."""
    folder = tmp_path_factory.mktemp("edits")
    lines = made_edits(folder, 8)
    for line in lines[::2]:
        line["rationales"] = [None] * 3
    for name, own in (("train", lines), ("held_out", lines[:3])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in own))
    texts = (text for line in lines for text in (line["prompt"][1], *filter(None, line["rationales"])))
    write_base("molmo2", list(texts) * 3, folder / "base", layers=4)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a base model and a run of one process that accumulates two batches."""
    folder = tmp_path_factory.mktemp("processes")
    write_items(folder, "train", ShapesConfig(16, 0), lambda _: None)
    # Three: the processes have different numbers of samples to evaluate.
    write_items(folder, "held_out", ShapesConfig(3, 1), lambda _: None)
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    for line in lines[::2]:  # every other sample is text alone
        for name in ("image", "video", "seconds_between_frames"):
            line.pop(name, None)
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_base(
        "molmo2", (text for line in lines for text in (line["prompt"], *line["responses"])), folder / "base", layers=4
    )
    train_alone(folder, "reference", accumulation=2)
    return folder


def train_alone(folder: Path, out: str, **changes: object) -> str:
    """Run a recipe in this process; what it prints."""
    AcceleratorState._reset_state(True)  # of other tests
    # As many threads as each launched process has: another number adds up in another order, and AdamW makes whole
    # steps of what rounding leaves of a gradient that is zero.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        done = CliRunner().invoke(main, ["run", str(write_recipe(folder, out, changes))], catch_exceptions=False)
    finally:
        torch.set_num_threads(threads)
    assert done.exit_code == 0, done.output
    return done.output


def launch(folder: Path, kind: str, out: str, *options: str, **changes: object) -> subprocess.CompletedProcess[str]:
    """Run a recipe in two processes."""
    command = [sys.executable, *LAUNCH[kind], "-m", "yoj.training.cli", "run", str(write_recipe(folder, out, changes))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=240)


def launch_and_stop_one(folder: Path, out: str, word: str, **changes: object) -> tuple[int, str]:
    """Run a recipe in two processes, of which one gets SIGTERM when the log has a word; returns status and log."""
    recipe = write_recipe(folder, out, changes)
    command = [sys.executable, *LAUNCH["ddp"], "-m", "yoj.training.cli", "run", str(recipe), "--trust-data"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith(word):
            trains = [child for child in psutil.Process(process.pid).children(recursive=True) if has_joined(child)]
            trains[-1].terminate()
            break
    rest, _ = process.communicate(timeout=240)
    return process.returncode, said + rest


def has_joined(process: psutil.Process) -> bool:
    """Whether a process is one of those that train together."""
    return "RANK" in process.environ() and "yoj.training.cli" in process.cmdline()


def write_recipe(folder: Path, out: str, changes: dict[str, object]) -> Path:
    """With some settings changed."""
    file = folder / f"{out}.yaml"
    file.write_text(yaml.safe_dump(RECIPE | {"out": out, "accumulation": 1} | changes))
    return file


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Of adapters and head."""
    names = "adapter_model.safetensors", "value_head.safetensors"
    return {key: value for name in names for key, value in load_file(checkpoint / name).items()}


def assert_same(one: Path, other: Path) -> None:
    """Within what the order of a sum makes."""
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        if name != "2.bias":  # no loss of this objective depends on it: its gradient is rounding, and AdamW steps on it
            torch.testing.assert_close(second[name], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()), msg=name)


def test_two_processes_train_as_one_with_twice_the_accumulation(folder: Path):
    done = launch(folder, "ddp", "ddp")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 2 of 3") == 1  # the main process alone speaks
    assert ", requests 3" in done.stdout
    assert_same(folder / "reference" / "checkpoint-3", folder / "ddp" / "checkpoint-3")


@pytest.mark.thorough
def test_checkpoints_of_one_process_and_of_shards_go_on_in_each_other(folder: Path):
    first, last = folder / "reference" / "checkpoint-1", folder / "reference" / "checkpoint-3"
    shutil.copytree(first, folder / "shards" / "checkpoint-1")
    done = launch(folder, "fsdp", "shards")
    assert done.returncode == 0, done.stderr
    assert "step 1 of 3" not in done.stdout
    assert ", requests 3" in done.stdout
    assert_same(last, folder / "shards" / "checkpoint-3")
    shutil.rmtree(folder / "shards" / "checkpoint-3")
    assert "step 2 of 3" not in train_alone(folder, "shards", accumulation=2)
    assert_same(last, folder / "shards" / "checkpoint-3")


@pytest.mark.thorough
@pytest.mark.parametrize("kind", with_variants(["fsdp", "ddp"]))
def test_the_same_gradients_where_not_every_process_has_a_picture(folder: Path, kind: str):
    settings = {"objective": "language", "trainable": "all", "max_steps": 1, "held_out": None}
    if not (folder / "all").exists():
        train_alone(folder, "all", accumulation=4, **settings)
    done = launch(folder, kind, f"all-{kind}", accumulation=2, **settings)
    assert done.returncode == 0, done.stderr
    # AdamW makes whole steps of gradients that are rounding errors; its first moments are sums of gradients.
    one, two = (
        torch.load(folder / out / "checkpoint-1" / "optimizer.pt", weights_only=True)["state"]
        for out in ("all", f"all-{kind}")
    )
    assert one.keys() == two.keys()
    largest = max(float(state["exp_avg"].abs().max()) for state in one.values())
    for name, state in one.items():
        assert float((state["exp_avg"] - two[name]["exp_avg"]).abs().max()) <= 1e-5 * largest, name
    assert any(name.startswith("vision.") and state["exp_avg"].any() for name, state in two.items())


@pytest.mark.thorough
@pytest.mark.parametrize("kind", with_variants(["fsdp", "ddp"]))
def test_a_whole_judge_of_edits_trains_as_in_one_process(edits: Path, kind: str):
    """All weights and two heads, with rationales that not every process has at a step."""
    if not (edits / "alone").exists():
        train_alone(edits, "alone", accumulation=4, **EDITS)
    done = launch(edits, kind, f"edits-{kind}", accumulation=2, **EDITS)
    assert done.returncode == 0, done.stderr
    one, two = (edits / out / "checkpoint-1" for out in ("alone", f"edits-{kind}"))
    # AdamW makes whole steps of gradients that are rounding errors; its first moments are sums of gradients.
    states = [torch.load(folder / "optimizer.pt", weights_only=True)["state"] for folder in (one, two)]
    assert states[0].keys() == states[1].keys()
    largest = max(float(state["exp_avg"].abs().max()) for state in states[0].values())
    for name, state in states[0].items():
        assert float((state["exp_avg"] - states[1][name]["exp_avg"]).abs().max()) <= 1e-5 * largest, name
    assert any("value_head" in name for name in states[0])
    for file in ("model.safetensors", "value_head.safetensors"):
        first, second = load_file(one / file), load_file(two / file)
        assert {name: value.shape for name, value in first.items()} == {n: v.shape for n, v in second.items()}
    settings = [json.loads((folder / "reward_model_config.json").read_text()) for folder in (one, two)]
    assert settings[0] == settings[1]
    # Both go on, in one process, with the weights that were stored.
    assert "Goes on from" in train_alone(edits, f"edits-{kind}", accumulation=4, **EDITS | {"max_steps": 2})
    figures = json.loads((two / "evaluation.json").read_text())
    assert set(figures) == {"best_of_n", "requests", "language_loss", *(f"pairwise/{name}" for name in DIMENSIONS)}
    assert figures["requests"] == 3


MIXED = """
import torch.distributed as dist
from yoj.training._precision import agree_on_precision
from yoj.training._recipe import Recipe
dist.init_process_group("gloo")
agree_on_precision(Recipe("b", "d", "o", precision=("float32", "float32")[dist.get_rank()], base_precision="float32"))
print("agreed", flush=True)
agree_on_precision(Recipe("b", "d", "o", precision=("float32", "bfloat16")[dist.get_rank()], base_precision="float32"))
"""


@pytest.mark.thorough
def test_processes_that_would_compute_differently_are_refused(tmp_path: Path):
    (tmp_path / "mixed.py").write_text(MIXED)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    done = subprocess.run([*command, str(tmp_path / "mixed.py")], capture_output=True, text=True, timeout=240)
    assert done.returncode != 0
    assert done.stdout.count("agreed") == 2, done.stderr
    assert "precision, base_precision: bfloat16 and float32; float32 and float32" in done.stderr


@pytest.mark.thorough
def test_processes_stop_together_where_one_is_asked_to(folder: Path):
    settings = {"max_steps": 60, "epochs": 60, "save_every": 99, "held_out": None}
    status, said = launch_and_stop_one(folder, "stopped", "step 2 ", **settings)
    assert status != 0
    assert said.count("Stopped by SIGTERM after step ") == 1, said
    (kept,) = [path for path in (folder / "stopped").iterdir() if path.name.startswith("checkpoint-")]
    step = int(kept.name.removeprefix("checkpoint-"))
    assert f"Stopped by SIGTERM after step {step} of 60. {kept} holds all whole steps." in said
    # What they have is what one process has after as many steps.
    train_alone(folder, "as-far", **settings | {"accumulation": 2, "max_steps": step})
    assert_same(folder / "as-far" / kept.name, kept)
    assert "Goes on from" in train_alone(folder, "stopped", **settings | {"accumulation": 2, "max_steps": step + 1})


@pytest.mark.thorough
def test_a_failure_ends_the_run_with_its_message(folder: Path):
    lines = (folder / "train.jsonl").read_text().splitlines()
    broken = next(json.loads(line) for line in lines if '"image"' in line) | {"image": "broken.png"}
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "broken.jsonl").write_text("\n".join([*lines[:3], json.dumps(broken)]) + "\n")
    done = launch(folder, "ddp", "broken", data="broken.jsonl")
    assert done.returncode != 0
    assert done.stderr.count("line 4") == 1
    done = launch(folder, "ddp", "broken", "--trust-data", data="broken.jsonl", held_out=None)
    assert done.returncode != 0
    assert "Error: " in done.stderr
